"""The score table, the one thing that judgement reads: a CSV or frame in, a checked frame out."""

from pathlib import Path

import numpy as np
import pandas as pd

from mammo.errors import ScoreError, in_one_line
from mammo.tables import read_table

REQUIRED = ("case_id", "patient_id", "breast_id", "image_id", "label", "score")
IDS = ("case_id", "patient_id", "breast_id", "image_id")


def read_scores(path: Path) -> pd.DataFrame:
    """Read a score table: `case_id, patient_id, breast_id, image_id, label` (0 or 1), `score` (probability of malignancy).

    `logit, split, fold, model_id` and subgroup columns may be there too and are kept.

    Raises:
        DataMissingError: There is no such file.
        ScoreError: It is no score table; every fault is named.
    """
    frame = read_table(path, f"a score table with the columns {', '.join(REQUIRED)}", error=ScoreError)
    return check_scores(frame, str(path))


def check_scores(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Check a score table's contract; returns it with `label` as int and `score` as float.

    Raises:
        ScoreError: All faults in one message.
    """
    missing = [f"column {name} is missing" for name in REQUIRED if name not in frame]
    if missing:
        raise ScoreError(in_one_line(where, missing))
    faults = [] if len(frame) else ["it has no row"]
    score = pd.to_numeric(frame["score"], errors="coerce")
    label = pd.to_numeric(frame["label"], errors="coerce")
    # NaN fails both comparisons, so it is named here too.
    faults += _faults_of(frame, ~((score >= 0) & (score <= 1)), "score must be a probability in 0-1", "score")
    faults += _faults_of(frame, ~label.isin([0, 1]), "label must be 0 or 1", "label")
    faults += _faults_of(frame, frame["case_id"].duplicated(), "case_id stands there a second time", "case_id")
    for name in IDS:
        faults += _faults_of(frame, frame[name].isna() | (frame[name] == ""), f"{name} is empty", name)
    if faults:
        raise ScoreError(in_one_line(where, faults))
    return frame.assign(score=score.astype(float), label=label.astype(int))


def write_scores(frame: pd.DataFrame, path: Path) -> None:
    """Write a score table beside and rename it into place."""
    beside = path.with_name(f".{path.name}")
    frame.to_csv(beside, index=False)
    beside.replace(path)


def _faults_of(frame: pd.DataFrame, bad: pd.Series, rule: str, column: str) -> list[str]:
    return [f"line {row + 2}: {rule}, got {frame[column].iloc[row]!r}" for row in np.flatnonzero(bad.to_numpy(bool))]
