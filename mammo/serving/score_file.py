"""Writes predictions as a CSV, a row for each that was asked for and in that order; a run that was killed goes on."""

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mammo.cases.table import BOX
from mammo.errors import ScoreError, SettingsError
from mammo.files import flush_folder, locked, read_json, written_beside
from mammo.images.film import in_words
from mammo.serving.folder import Asked, Found, Job
from mammo.serving.predictor import Prediction, stamp_of

COLUMNS = ("file", *BOX, "logit", "score", "called", "error", "warning")
Row = list[str]


class ScoreFile:
    """`--out F`: rows are added to `F.part` as they come; `F` is written in the order that was asked for when all are there."""

    def __init__(self, path: Path, made_by: str) -> None:
        """Look for what an earlier run left.

        Args:
            path: The file; it must not be there yet.
            made_by: What scores depend on: the network's hash and the engine.

        Raises:
            SettingsError: It is there, or what lies beside it was made by another network.
            OSError: It cannot be read.
        """
        if path.exists():
            raise SettingsError(f"--out {path}: is there already; expected a name that is free")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._part, self._note = (
            path,
            path.with_name(f"{path.name}.part"),
            path.with_name(f"{path.name}.part.of"),
        )
        self._lock = path.with_name(f"{path.name}.part.lock")
        self._made_by = made_by
        self._kept = self._read_kept() if self._part.is_file() else {}

    def _read_kept(self) -> dict[tuple[str, ...], Row]:
        """Rows of an earlier run that hold a score, of films that are still the same; errors, and a torn last row, are tried again."""
        try:
            same = read_json(self._note).get("made_by") == self._made_by
        except (OSError, ValueError):
            same = False
        if not same:
            raise SettingsError(f"{self._part}: is of another network or engine; remove it, or name another --out")
        content = self._part.read_text(encoding="utf-8", errors="surrogateescape")
        whole = content[: content.rfind("\n") + 1]
        rows = [row for row in csv.reader(io.StringIO(whole, newline="")) if len(row) == len(COLUMNS) + 1]
        scored = [row for row in rows if not row[COLUMNS.index("error")]]
        stamps = {name: stamp_of(Path(name)) for name in {row[0] for row in scored}}
        return {key_of(row): row for row in scored if row[-1] and row[-1] == stamps[row[0]]}

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """The films of which a row is not there yet."""
        return [
            job for job in jobs if any(key_of(row_of(Prediction(job.path, box))) not in self._kept for box in job.boxes)
        ]

    def write(self, found: Found, predictions: Iterable[list[Prediction]]) -> "Outcome":
        """Keep rows as they come, and write the file.

        Raises:
            InUseError: Another process writes it.
            OSError: It cannot be written.
        """
        made: dict[tuple[str, ...], Row] = dict(self._kept)
        with locked(self._lock, doing=f"{self.path}: is being written", named=False):
            with written_beside(self._note) as beside:
                beside.write_text(json.dumps({"made_by": self._made_by}), encoding="utf-8")
            with written_beside(self._part) as beside:  # without a torn end
                beside.write_bytes(as_bytes(self._kept.values()))
            with self._part.open("ab") as file:
                for of_film in predictions:
                    rows = [[*row_of(prediction), prediction.stamp] for prediction in of_film]
                    made |= {key_of(row): row for row in rows}
                    file.write(as_bytes(rows))
                    file.flush()
                os.fsync(file.fileno())
            outcome = Outcome()
            with written_beside(self.path) as beside:
                rows = [
                    outcome.count([*made[key_of_asked(asked)][: len(COLUMNS)], *asked.cells]) for asked in found.asked
                ]
                beside.write_bytes(as_bytes([header(found.columns), *rows, *_closed_rows(found, outcome)]))
        for left in (self._part, self._note, self._lock):
            left.unlink(missing_ok=True)
        flush_folder(self.path.parent)
        return outcome


class Outcome:
    """What the rows of a prediction say together: how many have no score and why the first has none, and the warnings by kind."""

    def __init__(self) -> None:
        self.rows, self.bad, self.first_error = 0, 0, ""
        self.warnings: Counter[str] = Counter()

    def count(self, row: Row) -> Row:
        """Take a row in; returns it."""
        error, warning = row[COLUMNS.index("error")], row[COLUMNS.index("warning")]
        self.rows += 1
        if error:
            self.bad += 1
            self.first_error = self.first_error or error
        self.warnings.update(warning.split("; ") if warning else [])
        return row


def print_rows(found: Found, predictions: Iterable[list[Prediction]]) -> Outcome:
    """Print a CSV on stdout, each row as soon as it and those before it are there."""
    outcome, made = Outcome(), dict[tuple[str, ...], Row]()
    waiting = list(reversed(found.asked))
    out = sys.stdout.buffer
    out.write(as_bytes([header(found.columns)]))
    for of_film in predictions:
        made |= {key_of(row): row for row in map(row_of, of_film)}
        while waiting and key_of_asked(waiting[-1]) in made:
            asked = waiting.pop()
            out.write(as_bytes([outcome.count([*made[key_of_asked(asked)], *asked.cells])]))
        out.flush()
    out.write(as_bytes(_closed_rows(found, outcome)))
    out.flush()
    return outcome


def header(columns: Sequence[str]) -> Row:
    """The names of all columns: ours, and those that came; one of theirs that has the name of ours is called `given_…`."""
    names = list(COLUMNS)
    for name in columns:
        while name in names:
            name = f"given_{name}"
        names.append(name)
    return names


def _closed_rows(found: Found, outcome: Outcome) -> list[Row]:
    """A row for each folder that may not be read."""
    rows = [
        [str(folder), *[""] * 7, f"{folder}: the folder may not be read; allow it (chmod), or leave it out", ""]
        for folder in found.unreadable
    ]
    return [outcome.count([*row, *[""] * len(found.columns)]) for row in rows]


def key_of(row: Sequence[str]) -> tuple[str, ...]:
    """What a row is of: film and box."""
    return tuple(row[:5])


def key_of_asked(asked: Asked) -> tuple[str, ...]:
    """The same of what was asked for."""
    return key_of(row_of(Prediction(asked.path, asked.box)))


def row_of(prediction: Prediction) -> Row:
    """The cells of a prediction; numbers in as many digits as tell them from their neighbours."""
    box = [repr(value).removesuffix(".0") for value in prediction.box] if prediction.box else [""] * 4
    if prediction.error:
        return [str(prediction.path), *box, "", "", "", prediction.error, ""]
    if prediction.logit is None or prediction.score is None:
        return [str(prediction.path), *box, "", "", "", "", ""]
    called = "yes" if prediction.called else "no"
    warning = "; ".join(in_words(remark).replace(";", ",") for remark in prediction.remarks)
    return [str(prediction.path), *box, repr(prediction.logit), repr(prediction.score), called, "", warning]


def as_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as CSV; paths in another encoding as the bytes that they are."""
    text = io.StringIO(newline="")
    for row in rows:  # the writer leaves a lone \r unquoted, which readers take for the end of a line
        torn = any("\r" in cell for cell in row)
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if torn else csv.QUOTE_MINIMAL).writerow(row)
    return text.getvalue().encode("utf-8", "surrogateescape")


def check_errors(outcome: Outcome) -> None:
    """Refuse to end as if all went well where rows have no score.

    Raises:
        ScoreError: At least one.
    """
    if outcome.bad:
        raise ScoreError(
            f"{outcome.bad} of {outcome.rows} rows have no score; column error says why, first: {outcome.first_error}"
        )
