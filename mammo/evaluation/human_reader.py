"""Sets a system beside the radiologists who assessed the same cases: AUC, matched points and their differences.

The reader's score is the BI-RADS category of a case (ACR BI-RADS Atlas), ordered by its number. Two categories are
special:

- 0, "incomplete: needs additional imaging", states no suspicion. It is lowest, and no point calls it. In the ACR's
  audit (the Atlas, Follow-up and Outcome Monitoring) a diagnostic examination is positive where tissue is to be taken,
  with 4 or 5. A screening examination with 0 is positive too, because the woman is recalled. So the reader's AUC with 0
  between 3 and 4 is given as well: of screened women referred with 0, 14 % had cancer, of those with 4, 39 % (Timmers
  et al. 2012, European Radiology 22:1717).
- 6, "known biopsy-proven malignancy", is no reading: these cases are left out, as those without an assessment are.

The reader's ROC curve goes in straight lines through the points of the categories, so its area counts a tied pair as
half. Through so few points it is smaller than that of a smooth curve (Hanley & McNeil 1982, Radiology 143:29); a point
of the reader beside the system's curve (Gur et al. 2008, Medical Physics 35:4404) is the fairer comparison. At the
reader's recall the system has the best specificity of its curve's points with that recall, at the reader's specificity
the best recall; between two thresholds its curve is straight (`weighted.Ranking`). In each resample of patients both
sides are measured and matched again.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo.evaluation.intervals import auc_interval, draw_for, with_exact_bounds, with_interval, with_intervals
from mammo.evaluation.metrics import UNDEFINED, Metric, count_confusion, measure_at, metric_or
from mammo.evaluation.scores import Cases
from mammo.evaluation.subgroups import FEW_POSITIVES, groups_of
from mammo.evaluation.weighted_reader import AREAS, MAIN_POINT, POINTS, BothSides
from mammo.settings.metrics import ONE_CLASS

INCOMPLETE, PROVEN = 0, 6
GROUPED_BY = ("subtlety", "density")
FEWEST = 10  # with fewer cases of a class, resamples of an AUC say little
TOO_FEW = f"fewer than {FEWEST} malignant or benign cases"


@dataclass(frozen=True)
class ReaderPoint:
    """The reader's calls at or above a BI-RADS category, and the system where its ROC curve matches them.

    Differences are the system less the reader: of specificity where both have the reader's recall, and of recall where
    both have the reader's specificity.
    """

    category: int
    recall: Metric
    specificity: Metric
    system_specificity: Metric
    specificity_difference: Metric
    system_recall: Metric
    recall_difference: Metric

    def as_json(self) -> dict[str, object]:
        """The plain form."""
        return {"category": self.category} | _plain(self)


@dataclass(frozen=True)
class ReaderLevel:
    """Both sides on the cases of a level that have an assessment, `n` of `of`.

    Attributes:
        n: The cases compared.
        n_positive: How many of them are malignant.
        n_patients: How many patients they are of.
        of: All cases of the level.
        unknown: Left out: without an assessment, or with a case of which it is unknown.
        proven: Left out: BI-RADS 6.
        incomplete: Compared: BI-RADS 0.
        auc: The reader's.
        delong: The same, with DeLong's interval.
        auc_recalled: The reader's AUC with BI-RADS 0 between 3 and 4.
        system_auc: The system's, on these cases.
        auc_difference: The system's less the reader's.
        points: The reader's.
        recall: The system's at its own main operating point.
        specificity: The same.
        recall_difference: That recall less the reader's at `MAIN_POINT`.
        specificity_difference: The same.
        curve: The reader's ROC curve: 1 - specificity and recall, from (0, 0) to (1, 1); empty with one class only.
    """

    n: int
    n_positive: int
    n_patients: int
    of: int
    unknown: int
    proven: int
    incomplete: int
    auc: Metric
    delong: Metric
    auc_recalled: Metric
    system_auc: Metric
    auc_difference: Metric
    points: tuple[ReaderPoint, ...]
    recall: Metric
    specificity: Metric
    recall_difference: Metric
    specificity_difference: Metric
    curve: tuple[tuple[float, float], ...]

    @property
    def main(self) -> ReaderPoint:
        """The reader's point that the system's operating point is compared with."""
        return next(point for point in self.points if point.category == MAIN_POINT)

    def as_json(self) -> dict[str, object]:
        """The plain form."""
        counts = {name: value for name, value in vars(self).items() if isinstance(value, int)}
        more = {"points": [point.as_json() for point in self.points], "curve": [list(one) for one in self.curve]}
        return counts | _plain(self) | more


@dataclass(frozen=True)
class ReaderGroup:
    """Both AUCs in the cases with one value of a column; undefined where a class has fewer than `FEWEST` cases."""

    column: str
    value: str
    n: int
    n_positive: int
    n_patients: int
    few: bool
    auc: Metric
    auc_recalled: Metric
    system_auc: Metric
    auc_difference: Metric

    def as_json(self) -> dict[str, object]:
        """The plain form."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, Metric)} | _plain(self)


@dataclass(frozen=True)
class ReaderResult:
    """The comparison at each level that has cases with an assessment, and by group at the task's own level."""

    levels: dict[str, ReaderLevel]
    groups: tuple[ReaderGroup, ...]

    def as_json(self) -> dict[str, object]:
        """The plain form."""
        order = f"BI-RADS by its number, {INCOMPLETE} lowest; {PROVEN} and unknown left out"
        levels = {name: level.as_json() for name, level in self.levels.items()}
        return {"order": order, "levels": levels, "groups": [group.as_json() for group in self.groups]}


def _plain(result: object) -> dict[str, object]:
    return {name: value.as_json() for name, value in vars(result).items() if isinstance(value, Metric)}


def compare_with_reader(cases: Cases, assessment: np.ndarray, *, resamples: int, seed: int) -> ReaderLevel | None:
    """Compare the cases of one level; None where none has an assessment.

    Args:
        cases: With the threshold of the main operating point for each.
        assessment: BI-RADS 0-6 of each, float64 [n]; NaN where it is unknown.
        resamples: How many, of the patients of the cases compared.
        seed: Of their draws.
    """
    unknown, proven = np.isnan(assessment), assessment == PROVEN
    compared = ~unknown & ~proven
    if not compared.any():
        return None
    cases, assessment = _select(cases, compared), assessment[compared]
    both = BothSides(cases, assessment)
    measured, drawn = _measure(both.measure, cases, resamples, seed)
    recall, specificity = _calls(cases, drawn["recall"], drawn["specificity"])
    areas = {name: measured[name] for name in AREAS}
    return ReaderLevel(
        n=len(cases),
        n_positive=int(cases.malignant.sum()),
        n_patients=cases.patients,
        of=len(compared),
        unknown=int(unknown.sum()),
        proven=int(proven.sum()),
        incomplete=int((assessment == INCOMPLETE).sum()),
        delong=auc_interval(cases.labels, assessment, cases.patient),
        points=tuple(_point(category, cases, assessment, measured, drawn) for category in POINTS),
        recall=recall,
        specificity=specificity,
        recall_difference=_of_one_class(measured["recall_difference"], "recall"),
        specificity_difference=_of_one_class(measured["specificity_difference"], "specificity"),
        curve=both.reader_curve(),
        **areas,
    )


def _select(cases: Cases, rows: np.ndarray) -> Cases:
    """Some of the cases (bool [n]), with their patients numbered anew."""
    patient = np.unique(cases.patient[rows], return_inverse=True)[1]
    return Cases(cases.labels[rows], cases.scores[rows], patient, cases.thresholds[:1, rows])


def _measure(
    measure: Callable[[np.ndarray], dict[str, np.ndarray]], cases: Cases, resamples: int, seed: int
) -> tuple[dict[str, Metric], dict[str, np.ndarray]]:
    """Measure the cases as they are, with intervals; also returns the values of the resamples."""
    parts = [measure(counts) for counts in draw_for(cases, resamples, seed=seed)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    values = measure(np.ones((cases.patients, 1)))
    found = {name: with_interval(metric_or(value[0], ONE_CLASS[0]), drawn[name]) for name, value in values.items()}
    return found, drawn


def _point(
    category: int, cases: Cases, assessment: np.ndarray, measured: dict[str, Metric], drawn: dict[str, np.ndarray]
) -> ReaderPoint:
    reader = Cases(cases.labels, assessment, cases.patient, np.full((1, len(cases)), float(category)))
    of_reader = (drawn[f"reader_{name} at {category}"] for name in ("recall", "specificity"))
    names = ("system_specificity", "specificity_difference", "system_recall", "recall_difference")
    return ReaderPoint(category, *_calls(reader, *of_reader), *(measured[f"{name} at {category}"] for name in names))


def _calls(side: Cases, recall: np.ndarray, specificity: np.ndarray) -> tuple[Metric, Metric]:
    """Recall and specificity of one side's calls, with the intervals of resamples or exact bounds."""
    measured = measure_at(count_confusion(side.labels, side.scores, side.thresholds[0]))
    drawn = {"recall": recall, "specificity": specificity}
    found = with_exact_bounds(with_intervals(measured, drawn), side, 0)
    return found["recall"], found["specificity"]


def _of_one_class(metric: Metric, name: str) -> Metric:
    """A difference of recall needs malignant cases alone, one of specificity benign ones: the reason says so."""
    return metric if metric.value is not None else Metric(None, UNDEFINED[name])


def compare_groups(
    scores: pd.DataFrame, cases: Cases, assessment: np.ndarray, *, resamples: int, seed: int
) -> tuple[ReaderGroup, ...]:
    """Compare the AUCs of the cases with each value of `GROUPED_BY`.

    Args:
        scores: Has the columns to group by.
        cases: Its rows, in the same order, and so are the others as in `compare_with_reader`.
        assessment: As there.
        resamples: How many, of the group's own patients.
        seed: Of their draws.
    """
    compared = np.isfinite(assessment) & (assessment != PROVEN)
    found = []
    for column, value, rows in groups_of(scores[compared], GROUPED_BY):
        group = _select(_select(cases, compared), rows)
        positives = int(group.malignant.sum())
        metrics = dict.fromkeys(AREAS, Metric(None, TOO_FEW))
        if min(positives, len(group) - positives) >= FEWEST:
            metrics, _ = _measure(BothSides(group, assessment[compared][rows]).areas, group, resamples, seed)
        few = positives < FEW_POSITIVES
        found.append(ReaderGroup(column, value, len(group), positives, group.patients, few, **metrics))
    return tuple(found)
