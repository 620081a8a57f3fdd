"""Reads, checks and writes score tables, and gathers them to levels: lesions, findings, films, breasts, patients."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.errors import ScoreError, in_one_line
from mammo.files import written_beside
from mammo.tables import read_table, row_faults, to_numbers

IDS = ("case_id", "patient_id", "breast_id", "image_id")
REQUIRED = (*IDS, "label", "score")
OWNERS = (("image_id", "patient_id"), ("breast_id", "patient_id"), ("image_id", "breast_id"))
HIGHEST_FOLD = 9_999
# From the finest level to the coarsest, with the column that gathers its cases. A finding is seen on several films.
LEVELS = {
    "lesion": "case_id",
    "finding": "finding_id",
    "image": "image_id",
    "breast": "breast_id",
    "patient": "patient_id",
}
UNKNOWN = ("", "na", "nan", "none", "<na>", "unknown")
# Log-odds of a score of 0 or 1 are taken at this distance from it, so that calibration has a finite covariate.
SMALLEST_SCORE = 1e-12


def read_scores(path: Path) -> pd.DataFrame:
    """Read a score table.

    Its columns are `case_id, patient_id, breast_id, image_id, label` (0 or 1) and `score` (probability of malignancy).
    `logit` (log-odds before calibration), `finding_id`, `fold`, `split, model_id`, `assessment` (BI-RADS) and other
    subgroup columns are optional and kept.

    Raises:
        DataMissingError: There is no such file.
        ScoreError: It is no score table; all errors are reported.
    """
    frame = read_table(path, f"a score table with the columns {', '.join(REQUIRED)}", error=ScoreError)
    return check_scores(frame, str(path))


def check_scores(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Check a score table's contract; returns it with `label` (and `fold`) as int, the other numbers as float.

    Raises:
        ScoreError: All errors in one message.
    """
    if missing := [f"column {name} is missing" for name in REQUIRED if name not in frame]:
        raise ScoreError(in_one_line(where, missing))
    optional = [name for name in ("logit", "fold", "finding_id") if name in frame]
    empty = [name for name in optional if (frame[name].isna() | (frame[name] == "")).all()]
    known = [name for name in (*IDS, "finding_id") if name in frame and name not in empty]
    ids = {name: frame[name].astype("string").str.strip().astype(object) for name in known}
    frame = frame.drop(columns=empty).assign(**ids)
    numbers = {name: to_numbers(frame[name]) for name in ("label", "score", "logit", "fold") if name in frame}
    if "assessment" in frame:
        numbers["assessment"] = _to_assessments(frame["assessment"])
    errors = [] if len(frame) else ["it has no row"]
    for bad, rule, column in _broken_rules(frame, numbers):
        errors += row_faults(bad, rule, frame[column], frame)
    if errors:
        raise ScoreError(in_one_line(where, errors))
    whole = {name: numbers[name].astype(int) for name in ("label", "fold") if name in numbers}
    return frame.assign(**numbers | whole)


def _broken_rules(frame: pd.DataFrame, numbers: dict[str, pd.Series]) -> list[tuple[pd.Series, str, str]]:
    """Rows that break a rule, bool [n], with the rule and its column; a NaN breaks the rule of its column."""
    label = numbers["label"]
    repeated = frame["case_id"].duplicated() & (frame["case_id"] != "")
    same_label = label == label.groupby(frame["case_id"], dropna=False).transform("first")
    rules = [
        (~numbers["score"].between(0, 1), "score must be a probability in 0-1", "score"),
        (~label.isin([0, 1]), "label must be 0 or 1", "label"),
        (repeated & same_label, "case_id is duplicated", "case_id"),
        (repeated & ~same_label, "case_id is duplicated, with another label", "case_id"),
    ]
    empty = {name: frame[name].isna() | (frame[name] == "") for name in IDS}
    rules += [(empty[name], f"{name} is empty", name) for name in IDS]
    owners = (*OWNERS, ("finding_id", "breast_id")) if "finding_id" in frame else OWNERS
    if "finding_id" in frame:
        empty["finding_id"] = frame["finding_id"].isna() | (frame["finding_id"] == "")
        rules.append((empty["finding_id"], "finding_id is empty, but not in all rows", "finding_id"))
    for name, owner in owners:
        first = frame[owner].groupby(frame[name], dropna=False).transform("first")
        rule = f"{name} belongs to another {owner.removesuffix('_id')} above"
        rules.append((~empty[name] & (frame[owner] != first), rule, name))
    if "logit" in numbers:
        rules.append((numbers["logit"].isna(), "logit must be a finite number", "logit"))
    if "fold" in numbers:
        wrong = ~numbers["fold"].between(0, HIGHEST_FOLD) | (numbers["fold"] % 1 != 0)
        rules.append((wrong, f"fold must be a whole number from 0 to {HIGHEST_FOLD}", "fold"))
    if "assessment" in numbers:
        rule = "assessment must be a BI-RADS category 0 to 6 (4A to 4C count as 4), or empty where it is unknown"
        rules.append((~numbers["assessment"].isin(range(7)) & numbers["assessment"].notna(), rule, "assessment"))
    return rules


def _to_assessments(column: pd.Series) -> pd.Series:
    """Read BI-RADS categories, float64 [n]: NaN where it is unknown, -1 where a cell is something else."""
    text = column.astype("string").fillna("").str.strip().str.lower()
    numbers = to_numbers(text.str.replace(r"^4[abc]$", "4", regex=True).astype(object))
    return numbers.fillna(-1.0).mask(text.isin(UNKNOWN))


def check_same_cases(tables: Sequence[pd.DataFrame], names: Sequence[str]) -> list[pd.DataFrame]:
    """Bring several systems' tables of the same cases into the order of the first.

    Breasts and films get the names of the first table, so that they are gathered alike.

    Raises:
        ScoreError: They have different cases, or give a case another label or patient.
    """
    by_case = [table.set_index("case_id", drop=False) for table in tables]
    first = by_case[0]
    errors = []
    for name, other in zip(names[1:], by_case[1:], strict=True):
        fewer, more = first.index.difference(other.index), other.index.difference(first.index)
        if len(fewer) or len(more):
            counts = f"{len(fewer)} of the first are missing, {len(more)} are more"
            errors.append(f"{name}: judged on other cases: {counts}, such as {[*fewer, *more][0]}")
            continue
        for column in ("label", "patient_id"):
            differs = (other[column].loc[first.index] != first[column]).to_numpy()
            if differs.any():
                errors.append(f"{name}: {column} differs in {differs.sum()} cases, such as {first.index[differs][0]}")
    if errors:
        raise ScoreError(in_one_line(f"{names[0]} and the others must be judged on the same cases", errors))
    own = {name: first[name].to_numpy() for name in (*IDS, "finding_id") if name in first}
    return [table.loc[first.index].reset_index(drop=True).assign(**own) for table in by_case]


def mean_logits(tables: Sequence[pd.DataFrame], names: Sequence[str]) -> pd.DataFrame:
    """Average several systems' logits case by case; the scores are those of the first table until a decision is made.

    Raises:
        ScoreError: A table has no logits, or the cases, labels or patients differ.
    """
    without = [name for name, table in zip(names, tables, strict=True) if "logit" not in table]
    if without:
        raise ScoreError(f"{', '.join(without)}: an ensemble averages logits, and this table has no column logit")
    aligned = check_same_cases(tables, names)
    mean = sum(table["logit"].to_numpy(float) for table in aligned) / len(aligned)
    return aligned[0].assign(logit=mean)


def write_scores(frame: pd.DataFrame, path: Path) -> None:
    """Write a score table beside its path and rename it into place."""
    with written_beside(path) as beside:
        frame.to_csv(beside, index=False)


def levels_of(task: str, scores: pd.DataFrame | None = None) -> list[str]:
    """The levels that a task's scores can be judged at, its own first; without finding if a table has no findings."""
    levels = list(LEVELS)[list(LEVELS).index(task) :]
    if task == "finding":  # it is on several films
        levels.remove("image")
    if task == "lesion" and scores is not None and LEVELS["finding"] not in scores:
        levels.remove("finding")
    return levels


def gather_level(
    scores: pd.DataFrame, level: str, *, task: str, how: str, temperature: float | np.ndarray = 1.0
) -> pd.DataFrame:
    """Gather cases to a level.

    A finding's log-odds are the mean over its views divided by `temperature`; one whose views have two labels is left
    out. Other levels follow `how`.

    Args:
        scores: A checked score table, whose cases are of a `task`.
        level: Of `levels_of(task, scores)`.
        how: How a level's score comes from those of its cases: `max`, `mean` or `noisy_or` (1 - Π(1 - score)).
        temperature: Of the findings of each row, float or float64 [n]; see `operating_point.Decision`.

    Returns:
        Rows with `label` (the maximum), `score`, `patient_id` and `fold`, sorted by the level's id, which is the index,
        and `assessment` where the table has it: the maximum, or NaN where that of a case is unknown. Findings also have
        `finding_views`, the number of their views. A film, breast or patient of benign cases that also has what is
        malignant or unknown (column `unsettled`, optional) is left out.
    """
    if level == "finding" != task:
        return _gather_findings(scores, temperature)
    column = "case_id" if level == task else LEVELS[level]
    score = np.log1p(-scores["score"].clip(upper=1 - 1e-12)) if how == "noisy_or" else scores["score"]
    frame = pd.DataFrame({"id": scores[column], "label": scores["label"], "score": score})
    frame["patient_id"], frame["fold"] = scores["patient_id"], scores.get("fold", 0)
    if "assessment" in scores:
        frame["assessment"] = to_numbers(scores["assessment"]).fillna(np.inf)  # the highest, so that it outlasts "max"
    if level == task:
        gathered = frame.sort_values("id", kind="stable").set_index("id")
    else:
        rules = {"label": "max", "score": "sum" if how == "noisy_or" else how, "patient_id": "first", "fold": "first"}
        rules |= {"assessment": "max"} if "assessment" in frame else {}
        gathered = frame.groupby("id", sort=True).agg(rules)
        if "unsettled" in scores:
            finer = levels_of("image")[: levels_of("image").index(level) + 1]
            doubtful = scores["unsettled"].isin(finer).groupby(scores[column]).any()
            gathered = gathered[~(doubtful.reindex(gathered.index) & (gathered["label"] == 0))]
    if "assessment" in gathered:
        gathered = gathered.assign(assessment=gathered["assessment"].replace(np.inf, np.nan))
    return gathered.assign(score=-np.expm1(gathered["score"])) if how == "noisy_or" else gathered


def _gather_findings(scores: pd.DataFrame, temperature: float | np.ndarray) -> pd.DataFrame:
    rows = pd.DataFrame({"label": scores["label"], "logit": log_odds_of(scores["score"].to_numpy(float)) / temperature})
    rows["patient_id"], rows["fold"], rows["finding_views"] = scores["patient_id"], scores.get("fold", 0), 1
    rules = {"label": "max", "logit": "mean", "patient_id": "first", "fold": "first", "finding_views": "size"}
    if "assessment" in scores:
        rows["assessment"] = to_numbers(scores["assessment"]).fillna(np.inf)
        rules["assessment"] = "max"
    of_finding = rows.groupby(scores["finding_id"].rename("id"), sort=True)
    gathered = of_finding.agg(rules)[of_finding["label"].nunique() == 1]
    if "assessment" in gathered:
        gathered = gathered.assign(assessment=gathered["assessment"].replace(np.inf, np.nan))
    return gathered.assign(score=1 / (1 + np.exp(-gathered["logit"]))).drop(columns="logit")


def mean_odds(scores: np.ndarray, temperature: float) -> float:
    """The score, 0-1, of a finding whose views have these scores [n]: their mean log-odds over a temperature."""
    return float(1 / (1 + np.exp(-log_odds_of(scores).mean() / temperature)))


def log_odds_of(scores: np.ndarray) -> np.ndarray:
    """The log-odds of scores 0-1, float64 [n]; 0 and 1 count as `SMALLEST_SCORE` from themselves."""
    inside = np.clip(scores, SMALLEST_SCORE, 1 - SMALLEST_SCORE)
    return np.asarray(np.log(inside) - np.log1p(-inside))


@dataclass(frozen=True)
class Cases:
    """Cases of one level, n of them.

    Attributes:
        labels: int [n], 0 or 1.
        scores: float64 [n], 0-1.
        patient: The cluster of each case, int [n], from 0 to `patients` - 1.
        thresholds: float64 [points, n], a row per operating point; at or above it, a case is called malignant.
    """

    labels: np.ndarray
    scores: np.ndarray
    patient: np.ndarray
    thresholds: np.ndarray

    @staticmethod
    def of(frame: pd.DataFrame, thresholds: np.ndarray | None = None) -> "Cases":
        """Take `label, score, patient_id` of a frame; patients are numbered in the order of their names."""
        patient = pd.factorize(frame["patient_id"], sort=True)[0]
        points = np.empty((0, len(frame))) if thresholds is None else thresholds
        return Cases(frame["label"].to_numpy(int), frame["score"].to_numpy(float), patient, points)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def patients(self) -> int:
        """How many patients there are."""
        return int(self.patient.max()) + 1 if len(self) else 0

    @cached_property
    def malignant(self) -> np.ndarray:
        """Bool [n]."""
        return self.labels == 1

    @cached_property
    def log_odds(self) -> np.ndarray:
        """The scores' log-odds, float64 [n]."""
        return log_odds_of(self.scores)

    def called(self, point: int) -> np.ndarray:
        """Which cases an operating point calls malignant, bool [n]."""
        return self.scores >= self.thresholds[point]

    def shared_threshold(self, point: int) -> float | None:
        """The threshold of an operating point; None where each fold has its own."""
        thresholds = self.thresholds[point]
        return float(thresholds[0]) if np.ptp(thresholds) == 0 else None
