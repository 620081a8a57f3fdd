"""Predictions enter as they are made; a CSV leaves, which a run that was killed goes on with instead of beginning anew."""

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mammo.cases.table import BOX
from mammo.errors import ScoreError, SettingsError
from mammo.files import flush_folder, locked, read_json, written_beside
from mammo.serving.folder import Job
from mammo.serving.predictor import Prediction

COLUMNS = ("file", *BOX, "logit", "score", "called", "error")


class ScoreFile:
    """`--out F`: rows are added to `F.part` as they come; `F` is written in the films' order when all are there."""

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
        self.path, self._part, self._note = path, path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.part.of")
        self._lock = path.with_name(f"{path.name}.part.lock")
        self._made_by = made_by
        self.rows = self._kept() if self._part.is_file() else {}

    def _kept(self) -> dict[tuple[str, ...], list[str]]:
        """Rows of an earlier run that hold a score; a last one that is torn, and errors, are tried again."""
        try:
            same = read_json(self._note).get("made_by") == self._made_by
        except (OSError, ValueError):
            same = False
        if not same:
            raise SettingsError(f"{self._part}: is of another network or engine; remove it, or name another --out")
        content = self._part.read_text(encoding="utf-8", errors="surrogateescape")
        whole = content[: content.rfind("\n") + 1]
        rows = [row for row in csv.reader(io.StringIO(whole, newline="")) if len(row) == len(COLUMNS) and not row[-1]]
        return {tuple(row[:5]): row for row in rows}

    def left(self, jobs: Sequence[Job]) -> list[Job]:
        """The films of which a row is not there yet."""
        return [job for job in jobs if any(key not in self.rows for key in keys_of(job))]

    def write(self, jobs: Sequence[Job], predictions: Iterable[list[Prediction]]) -> list[Prediction]:
        """Keep rows as they come, and write the file.

        Returns:
            Those that have an error.

        Raises:
            InUseError: Another process writes it.
            OSError: It cannot be written.
        """
        bad: list[Prediction] = []
        with locked(self._lock, doing=f"{self.path}: is being written", named=False):
            with written_beside(self._note) as beside:
                beside.write_text(json.dumps({"made_by": self._made_by}), encoding="utf-8")
            with written_beside(self._part) as beside:  # without a torn end
                beside.write_bytes(as_bytes(self.rows.values()))
            with self._part.open("ab") as file:
                for made in predictions:
                    rows = [row_of(prediction) for prediction in made]
                    self.rows |= {tuple(row[:5]): row for row in rows}
                    bad += [prediction for prediction in made if prediction.error]
                    file.write(as_bytes(rows))
                    file.flush()
                os.fsync(file.fileno())
            ordered = (self.rows[key] for job in jobs for key in keys_of(job))
            with written_beside(self.path) as beside:
                beside.write_bytes(as_bytes([COLUMNS]) + as_bytes(ordered))
        for left in (self._part, self._note, self._lock):
            left.unlink(missing_ok=True)
        flush_folder(self.path.parent)
        return bad


def print_rows(predictions: Iterable[list[Prediction]]) -> list[Prediction]:
    """Print a CSV on stdout, each row as it comes; returns those that have an error."""
    bad: list[Prediction] = []
    out = sys.stdout.buffer
    out.write(as_bytes([COLUMNS]))
    for made in predictions:
        out.write(as_bytes(map(row_of, made)))
        out.flush()
        bad += [prediction for prediction in made if prediction.error]
    return bad


def keys_of(job: Job) -> Iterator[tuple[str, ...]]:
    """What a film's rows begin with."""
    return (tuple(row_of(Prediction(job.path, box))[:5]) for box in job.boxes)


def row_of(prediction: Prediction) -> list[str]:
    """The cells of a prediction; numbers in as many digits as tell them from their neighbours."""
    box = [repr(value).removesuffix(".0") for value in prediction.box] if prediction.box else [""] * 4
    if prediction.error:
        return [str(prediction.path), *box, "", "", "", prediction.error]
    if prediction.logit is None or prediction.score is None:
        return [str(prediction.path), *box, "", "", "", ""]
    return [str(prediction.path), *box, repr(prediction.logit), repr(prediction.score), "yes" if prediction.called else "no", ""]


def as_bytes(rows: Iterable[Sequence[str]]) -> bytes:
    """Rows as CSV; paths in another encoding as the bytes that they are."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def check_errors(bad: Sequence[Prediction], films: int) -> None:
    """Tell how many have no score.

    Raises:
        ScoreError: At least one.
    """
    if bad:
        raise ScoreError(f"{len(bad)} of the rows, of {films} films, have no score; column error says why, first: {bad[0].error}")
