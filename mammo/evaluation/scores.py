"""The score table, the one thing that judgement reads: a CSV or frame in, a checked frame out."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mammo.errors import ScoreError, in_one_line
from mammo.files import written_beside
from mammo.tables import read_table, row_faults, to_numbers

REQUIRED = ("case_id", "patient_id", "breast_id", "image_id", "label", "score")
IDS = ("case_id", "patient_id", "breast_id", "image_id")
HIGHEST_FOLD = 9_999


def read_scores(path: Path) -> pd.DataFrame:
    """Read a score table: `case_id, patient_id, breast_id, image_id, label` (0 or 1), `score` (probability of malignancy).

    `logit` (log-odds before calibration), `fold`, `split, model_id` and subgroup columns may be there too and are kept.

    Raises:
        DataMissingError: There is no such file.
        ScoreError: It is no score table; every fault is named.
    """
    frame = read_table(path, f"a score table with the columns {', '.join(REQUIRED)}", error=ScoreError)
    return check_scores(frame, str(path))


def check_scores(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Check a score table's contract; returns it with `label` (and `fold`) as int, `score` (and `logit`) as float.

    Raises:
        ScoreError: All faults in one message.
    """
    missing = [f"column {name} is missing" for name in REQUIRED if name not in frame]
    if missing:
        raise ScoreError(in_one_line(where, missing))
    faults = [] if len(frame) else ["it has no row"]
    frame = frame.assign(**{name: frame[name].astype("string").str.strip().astype(object) for name in IDS})
    frame = frame.drop(
        columns=[
            name for name in ("logit", "fold") if name in frame and (frame[name].isna() | (frame[name] == "")).all()
        ]
    )
    score, label = to_numbers(frame["score"]), to_numbers(frame["label"])
    # NaN fails both comparisons, so it is named here too.
    faults += _faults_of(frame, ~((score >= 0) & (score <= 1)), "score must be a probability in 0-1", "score")
    faults += _faults_of(frame, ~label.isin([0, 1]), "label must be 0 or 1", "label")
    faults += _double_faults(frame, label)
    for name in IDS:
        faults += _faults_of(frame, frame[name].isna() | (frame[name] == ""), f"{name} is empty", name)
    for name, owner in (("image_id", "patient_id"), ("breast_id", "patient_id"), ("image_id", "breast_id")):
        faults += _owner_faults(frame, name, owner)
    given = {"score": score}
    if "logit" in frame:
        given["logit"] = to_numbers(frame["logit"])
        faults += _faults_of(frame, given["logit"].isna(), "logit must be a finite number", "logit")
    if "fold" in frame:
        fold = to_numbers(frame["fold"])
        wrong = ~fold.between(0, HIGHEST_FOLD) | (fold % 1 != 0)
        faults += _faults_of(frame, wrong, f"fold must be a whole number from 0 to {HIGHEST_FOLD}", "fold")
        given["fold"] = fold
    if faults:
        raise ScoreError(in_one_line(where, faults))
    whole = {"label": label.astype(int)} | ({"fold": given.pop("fold").astype(int)} if "fold" in given else {})
    return frame.assign(**given, **whole)


def check_same_cases(tables: Sequence[pd.DataFrame], names: Sequence[str]) -> list[pd.DataFrame]:
    """Bring several systems' tables of the same cases into the order of the first.

    Raises:
        ScoreError: They are not of the same cases, or give a case another label or patient.
    """
    first = tables[0].set_index("case_id", drop=False)
    faults = []
    for table, name in zip(tables[1:], names[1:], strict=True):
        other = table.set_index("case_id", drop=False)
        fewer, more = first.index.difference(other.index), other.index.difference(first.index)
        if len(fewer) or len(more):
            example = f", such as {[*fewer, *more][0]}"
            faults.append(
                f"{name}: judged on other cases: {len(fewer)} of the first are missing, {len(more)} are more{example}"
            )
            continue
        other = other.loc[first.index]
        for column in ("label", "patient_id"):
            differs = (other[column] != first[column]).to_numpy()
            if differs.any():
                faults.append(f"{name}: {column} differs in {differs.sum()} cases, such as {first.index[differs][0]}")
    if faults:
        raise ScoreError(in_one_line(f"{names[0]} and the others must be judged on the same cases", faults))
    own = {
        name: first[name].to_numpy() for name in IDS
    }  # films and breasts are gathered alike, whatever each table calls them
    return [
        table.set_index("case_id", drop=False).loc[first.index].reset_index(drop=True).assign(**own) for table in tables
    ]


def _double_faults(frame: pd.DataFrame, label: pd.Series) -> list[str]:
    """Cases that stand there twice, and whether their labels conflict."""
    again = frame["case_id"].duplicated() & (frame["case_id"] != "")
    first = label.groupby(frame["case_id"], dropna=False).transform("first")
    conflict = again & (label != first)
    return _faults_of(frame, again & ~conflict, "case_id stands there a second time", "case_id") + _faults_of(
        frame, conflict, "case_id stands there a second time, with another label", "case_id"
    )


def _owner_faults(frame: pd.DataFrame, column: str, owner: str) -> list[str]:
    """Films or breasts that are said to be of two patients, and films of two breasts."""
    named = frame[column].notna() & (frame[column] != "")
    first = frame[owner].groupby(frame[column], dropna=False).transform("first")
    return _faults_of(
        frame, named & (frame[owner] != first), f"{column} belongs to another {owner.removesuffix('_id')} above", column
    )


def write_scores(frame: pd.DataFrame, path: Path) -> None:
    """Write a score table beside and rename it into place."""
    with written_beside(path) as beside:
        frame.to_csv(beside, index=False)


def _faults_of(frame: pd.DataFrame, bad: pd.Series, rule: str, column: str) -> list[str]:
    return row_faults(bad, rule, frame[column], frame)
