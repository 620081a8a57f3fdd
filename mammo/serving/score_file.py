"""Writes predictions as a CSV: a row for each requested film or lesion, in the requested order."""

import csv
import io
import itertools
import json
import os
import sys
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from mammo.cases.table import BOX
from mammo.errors import ScoreError, SettingsError
from mammo.evaluation.operating_point import Decision
from mammo.files import flush_folder, locked, read_json, write_text, written_beside
from mammo.images.film import in_words
from mammo.images.geometry import Box
from mammo.serving.folder import Asked, Found, Job
from mammo.serving.predictor import Prediction, stamp_of

COLUMNS = ("file", *BOX, "logit", "score", "called", "error", "warning")
FINDING_COLUMNS = ("finding_views", "finding_score", "finding_called")  # of the views of its finding that have a score
Row = list[str]
Key = tuple[str, ...]


class Outcome:
    """Counts what the rows of a prediction have in common: rows without a score, and warnings by kind."""

    def __init__(self) -> None:
        self.rows, self.bad, self.first_error = 0, 0, ""
        self.warnings: Counter[str] = Counter()

    def count(self, row: Row) -> Row:
        """Count a row, and return it."""
        error, warning = row[COLUMNS.index("error")], row[COLUMNS.index("warning")]
        self.rows += 1
        self.bad += bool(error)
        self.first_error = self.first_error or error
        self.warnings.update(warning.split("; ") if warning else [])
        return row


class ScoreFile:
    """The file of `--out F`. Rows are added to `F.part` as they come; `F` is written when all are there."""

    def __init__(self, path: Path, made_by: str) -> None:
        """Read what an earlier, killed command left.

        Args:
            path: The file; it must not exist yet.
            made_by: What scores depend on: the network's hash and the engine.

        Raises:
            SettingsError: The file exists, or the part beside it was made by another network.
            OSError: The part cannot be read.
        """
        if path.exists():
            raise SettingsError(f"--out {path}: is there already; expected a name that is free")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self._made_by = path, made_by
        self._part = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.of")
        self._lock = path.with_name(f"{path.name}.part.lock")
        self._kept = self._read_kept() if self._part.is_file() else {}

    def _read_kept(self) -> dict[Key, Row]:
        """Read the scores of films that have not changed since; errors, and a last row cut short, are tried again."""
        try:
            same = read_json(self._note).get("made_by") == self._made_by
        except (OSError, ValueError):
            same = False
        if not same:
            raise SettingsError(
                f"{self._part}: is of another network, engine or pixel aspect; remove it, or name another --out"
            )
        content = self._part.read_text(encoding="utf-8", errors="surrogateescape")
        whole = content[: content.rfind("\n") + 1]
        rows = [row for row in csv.reader(io.StringIO(whole, newline="")) if len(row) == len(COLUMNS) + 1]
        scored = [row for row in rows if not row[COLUMNS.index("error")]]
        stamps = {name: stamp_of(Path(name)) for name in {row[0] for row in scored}}
        return {_key_of_row(row): row for row in scored if row[-1] and row[-1] == stamps[row[0]]}

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the films that still lack a row."""
        return [job for job in jobs if any(key_of(job.path, box) not in self._kept for box in job.boxes)]

    def write(self, found: Found, predictions: Iterable[list[Prediction]], decision: Decision) -> Outcome:
        """Save rows as they come, and write the file.

        Raises:
            InUseError: Another process writes it.
            OSError: It cannot be written.
        """
        outcome = Outcome()
        with locked(self._lock, doing=f"{self.path}: is being written", named=False):
            write_text(self._note, json.dumps({"made_by": self._made_by}))
            with written_beside(self._part) as beside:  # without a last row cut short
                beside.write_bytes(as_bytes(self._kept.values()))
            with self._part.open("ab") as file:
                known = itertools.chain(_saved(predictions, file), self._kept.values())
                rows = list(_rows_in_order(found, known, outcome, decision))
                os.fsync(file.fileno())
            with written_beside(self.path) as beside:
                beside.write_bytes(as_bytes(rows))
        for left in (self._part, self._note, self._lock):
            left.unlink(missing_ok=True)
        flush_folder(self.path.parent)
        return outcome


def _saved(predictions: Iterable[list[Prediction]], file: BinaryIO) -> Iterator[Row]:
    """Pass on the rows of predictions, each with its film's stamp, and append them to a file film by film."""
    for of_film in predictions:
        rows = [[*row_of(prediction), prediction.stamp] for prediction in of_film]
        file.write(as_bytes(rows))
        file.flush()
        yield from rows


def print_rows(found: Found, predictions: Iterable[list[Prediction]], decision: Decision) -> Outcome:
    """Print a CSV on stdout, each row as soon as it, the views of its finding and the rows before it are known."""
    outcome = Outcome()
    known = (row_of(prediction) for of_film in predictions for prediction in of_film)
    for row in _rows_in_order(found, known, outcome, decision):
        sys.stdout.buffer.write(as_bytes([row]))
        sys.stdout.buffer.flush()
    return outcome


def _rows_in_order(found: Found, known: Iterable[Row], outcome: Outcome, decision: Decision) -> Iterator[Row]:
    """Give the header, the requested rows in their order, and a row for each folder that cannot be read."""
    names = header(found.columns, FINDING_COLUMNS if found.has_findings else ())
    yield names
    rows = _requested(found, known)
    for row in _with_findings(rows, found, decision) if found.has_findings else (row for _, row in rows):
        yield outcome.count(row)
    for folder in found.unreadable:
        error = f"{folder}: the folder may not be read; allow it (chmod), or leave it out"
        row = row_of(Prediction(folder, error=error))
        yield outcome.count([*row, *[""] * (len(names) - len(row))])


def _requested(found: Found, known: Iterable[Row]) -> Iterator[tuple[Asked, Row]]:
    """Give what was requested with its row, in the requested order."""
    rows: dict[Key, Row] = {}
    waiting = deque(found.asked)
    for row in known:
        rows.setdefault(_key_of_row(row), row)
        while waiting and (key := key_of(waiting[0].path, waiting[0].box)) in rows:
            asked = waiting.popleft()
            yield asked, [*rows[key][: len(COLUMNS)], *asked.cells]


def _with_findings(rows: Iterable[tuple[Asked, Row]], found: Found, decision: Decision) -> Iterator[Row]:
    """Add `FINDING_COLUMNS` to rows; a row waits until all views of its finding have theirs."""
    left = Counter(asked.finding for asked in found.asked if asked.finding)
    scores: dict[str, list[float]] = {finding: [] for finding in left}
    waiting: deque[tuple[Asked, Row]] = deque()
    for asked, row in rows:
        waiting.append((asked, row))
        left[asked.finding] -= 1
        if asked.finding and (score := row[COLUMNS.index("score")]):
            scores[asked.finding].append(float(score))
        while waiting and (not waiting[0][0].finding or not left[waiting[0][0].finding]):
            first, whole = waiting.popleft()
            yield [*whole, *_cells_of_finding(scores.get(first.finding, []), decision)]


def _cells_of_finding(scores: Sequence[float], decision: Decision) -> Row:
    if not scores:
        return [""] * len(FINDING_COLUMNS)
    score, called = decision.of_finding(scores)
    return [str(len(scores)), repr(score), "" if called is None else "yes" if called else "no"]


def header(columns: Sequence[str], more: Sequence[str] = ()) -> Row:
    """Name all columns: ours, those of the given table, and `more` of ours; a name of ours becomes `given_…` there."""
    names = list(COLUMNS)
    for name in columns:
        while name in (*names, *more):
            name = f"given_{name}"
        names.append(name)
    return [*names, *more]


def key_of(path: Path, box: Box | None) -> Key:
    """Give the first cells of a row, which identify it: film and box."""
    cells = [repr(value).removesuffix(".0") for value in box] if box else [""] * len(BOX)
    return (str(path), *cells)


def _key_of_row(row: Row) -> Key:
    return tuple(row[: 1 + len(BOX)])


def row_of(prediction: Prediction) -> Row:
    """Give the cells of a prediction; numbers with all digits, so that they read back exactly."""
    numbers = ["", "", ""]
    if prediction.score is not None:
        numbers = [repr(prediction.logit), repr(prediction.score), "yes" if prediction.called else "no"]
    warning = "; ".join(in_words(remark).replace(";", ",") for remark in prediction.remarks)
    return [*key_of(prediction.path, prediction.box), *numbers, prediction.error, warning]


def as_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Format rows as CSV; a path in another encoding keeps its bytes."""
    text = io.StringIO(newline="")
    for row in rows:  # the writer leaves a lone \r unquoted, which readers take for the end of a line
        torn = any("\r" in cell for cell in row)
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if torn else csv.QUOTE_MINIMAL).writerow(row)
    return text.getvalue().encode("utf-8", "surrogateescape")


def check_errors(outcome: Outcome) -> None:
    """Raise a ScoreError if a row has no score."""
    if outcome.bad:
        first = f"column error says why, first: {outcome.first_error}"
        raise ScoreError(f"{outcome.bad} of {outcome.rows} rows have no score; {first}")
