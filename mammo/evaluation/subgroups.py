"""Judges each kind of case of a score table: by lesion type, density, view, and other columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo.evaluation.intervals import resample, with_exact_bounds, with_intervals
from mammo.evaluation.metrics import Metric, count_confusion, measure_at, measure_ranking
from mammo.evaluation.scores import Cases
from mammo.settings.metrics import shown_in

COLUMNS = ("lesion_type", "density", "view", "laterality", "subtlety", "assessment", "source", "finding_views")
METRICS = tuple(metric.key for metric in shown_in("groups"))
# With fewer positives, the interval is wider than any difference between groups of interest.
FEW_POSITIVES = 20
WITHOUT_CALLBACK = "BENIGN_WITHOUT_CALLBACK"
Group = tuple[str, str, np.ndarray]  # column, value, and its rows, bool [n]


@dataclass(frozen=True)
class Subgroup:
    """The cases with one value of a column; `few` marks fewer than 20 positives."""

    column: str
    value: str
    n: int
    n_positive: int
    n_patients: int
    few: bool
    metrics: dict[str, Metric]

    def as_json(self) -> dict[str, object]:
        """The plain form."""
        about = {name: value for name, value in vars(self).items() if name != "metrics"}
        return about | {name: metric.as_json() for name, metric in self.metrics.items()}


def judge_subgroups(scores: pd.DataFrame, thresholds: np.ndarray, *, resamples: int, seed: int) -> tuple[Subgroup, ...]:
    """Judge each group at the main operating point.

    Args:
        scores: A checked score table; a column that is absent, or has one value only, makes no group.
        thresholds: The main operating point's for each row, float64 [n].
        resamples: How many, of the group's own patients, drawn from `seed`.
    """
    found = []
    for column, value, rows in _groups(scores):
        cases = Cases.of(scores[rows], thresholds[rows][None])
        confusion = count_confusion(cases.labels, cases.scores, cases.thresholds[0])
        measured = measure_ranking(cases.labels, cases.scores) | measure_at(confusion)
        drawn = resample(cases, resamples=resamples, seed=seed, calibration=False)
        bounded = with_exact_bounds(with_intervals(measured, drawn.ranking | drawn.points[0]), cases, 0)
        metrics = {name: bounded[name] for name in METRICS}
        positives = int(cases.malignant.sum())
        found.append(Subgroup(column, value, len(cases), positives, cases.patients, positives < FEW_POSITIVES, metrics))
    return tuple(found)


def _groups(scores: pd.DataFrame) -> list[Group]:
    groups = groups_of(scores, COLUMNS)
    if "pathology" in scores:
        called_back = (scores["pathology"] != WITHOUT_CALLBACK).to_numpy()
        if called_back.any() and not called_back.all():
            groups.append(("pathology", f"without {WITHOUT_CALLBACK}", called_back))
    return groups


def groups_of(scores: pd.DataFrame, columns: Sequence[str]) -> list[Group]:
    """The groups of some columns; one that is absent, or has one value only, makes none."""
    groups: list[Group] = []
    for column in columns:
        if column not in scores:
            continue
        values = scores[column].map(_name)
        if values.nunique() > 1:
            groups += [(column, value, (values == value).to_numpy()) for value in sorted(values.unique())]
    return groups


def _name(value: object) -> str:
    """Name a value; pandas may have read densities and other whole numbers as 2.0, and an empty cell means unknown."""
    if isinstance(value, float):
        return "unknown" if np.isnan(value) else f"{value:g}"
    text = str(value).strip()
    return text.removesuffix(".0") if text not in ("", "nan", "None", "<NA>") else "unknown"
