"""Compares systems on the same cases: every metric's difference, with interval and test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import chdtrc, ndtr

from mammo.evaluation.calibration import measure_calibration
from mammo.evaluation.intervals import SMALLEST_VARIANCE, auc_covariance, resample, with_interval
from mammo.evaluation.judge import DEFAULTS, case_thresholds, plain_how
from mammo.evaluation.metrics import Metric, count_confusion, measure_at, measure_ranking
from mammo.evaluation.operating_point import Decisions, gather, one_decision
from mammo.evaluation.scores import Cases, check_same_cases
from mammo.settings.schema import EvaluationSettings


@dataclass(frozen=True)
class System:
    """A judged system: its name, its score table and its decision (or each fold's)."""

    name: str
    scores: pd.DataFrame
    decisions: Decisions


@dataclass(frozen=True)
class Difference:
    """A metric of both systems, and the second's minus the first's.

    `p` is of the test that `test` names; `p_holm` is adjusted for the number of pairs.
    """

    metric: str
    first: Metric
    second: Metric
    difference: Metric
    test: str = ""
    statistic: float | None = None
    p: float | None = None
    p_holm: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A system and the first, at one level, each at its own main operating point: its rule, and threshold if any."""

    first: str
    second: str
    rules: tuple[str, str]
    thresholds: tuple[float | None, float | None]
    how: EvaluationSettings
    level: str
    n: int
    n_positive: int
    n_patients: int
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, object]:
        """The plain form."""
        differences = [
            vars(one) | {name: getattr(one, name).as_json() for name in ("first", "second", "difference")}
            for one in self.differences
        ]
        return vars(self) | {"how": plain_how(self.how), "differences": differences}


def compare(
    systems: Sequence[System], *, level: str = "", how: EvaluationSettings = DEFAULTS
) -> tuple[Comparison, ...]:
    """Compare the others with the first.

    Args:
        systems: At least two; their tables may have different orders.
        level: Where to compare; by default the task of the first.
        how: Of intervals; the same patients are drawn for all.

    Raises:
        ScoreError: They were not judged on the same cases.
    """
    tables = check_same_cases([system.scores for system in systems], [system.name for system in systems])
    level = level or one_decision(systems[0].decisions).task
    sides = [_Side(replace(system, scores=table), level, how) for system, table in zip(systems, tables, strict=True)]
    return _with_holm([_compare_pair(sides[0], side, level, how) for side in sides[1:]])


class _Side:
    """A system measured at a level, and its resamples."""

    def __init__(self, system: System, level: str, how: EvaluationSettings) -> None:
        decision = one_decision(system.decisions)
        frame = gather(system.scores, level, system.decisions)
        self.name, self.rule = system.name, decision.rule
        self.cases = cases = Cases.of(frame, case_thresholds(frame, system.decisions, level)[:1])
        confusion = count_confusion(cases.labels, cases.scores, cases.thresholds[0])
        ranking = measure_ranking(cases.labels, cases.scores) | measure_calibration(cases)
        self.metrics = ranking | measure_at(confusion)
        drawn = resample(cases, resamples=how.resamples, seed=how.resamples_seed)
        self.resamples = drawn.ranking | drawn.points[0]


def _compare_pair(first: _Side, second: _Side, level: str, how: EvaluationSettings) -> Comparison:
    tests = _test_pair(first.cases, second.cases)
    differences = []
    for name, metric in first.metrics.items():
        other = second.metrics[name]
        if metric.value is None or other.value is None:
            difference = Metric(None, metric.undefined or other.undefined)
        else:
            resamples = second.resamples[name] - first.resamples[name]
            difference = with_interval(Metric(other.value - metric.value), resamples)
        differences.append(Difference(name, metric, other, difference, *tests.get(name, ())))
    cases, rules = first.cases, (first.rule, second.rule)
    thresholds = (cases.shared_threshold(0), second.cases.shared_threshold(0))
    counts = (len(cases), int(cases.malignant.sum()), cases.patients)
    return Comparison(first.name, second.name, rules, thresholds, how, level, *counts, tuple(differences))


def _test_pair(first: Cases, second: Cases) -> dict[str, tuple[str, float | None, float | None]]:
    """Name, statistic and p of the test of each metric that has one."""
    found = {"auc": ("DeLong, clustered", *delong_test(first.labels, first.scores, second.scores, first.patient))}
    right, other_right = (cases.called(0) == cases.malignant for cases in (first, second))
    groups = {"recall": first.malignant, "specificity": ~first.malignant, "accuracy": np.ones(len(first), bool)}
    for name, rows in groups.items():
        found[name] = ("McNemar, clustered", *mcnemar_test(right[rows], other_right[rows], first.patient[rows]))
    return found


def delong_test(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, patient: np.ndarray
) -> tuple[float | None, float | None]:
    """Test that the AUCs of two systems' scores, float64 [n], of the same cases are equal (Obuchowski 1997).

    `labels` (0 or 1) and `patient` (from 0) are int [n].

    Returns:
        z of the second AUC minus the first, and two-sided p; None where there is no variance to test against: with one
        class, or two systems that rank alike.
    """
    auc, covariance = auc_covariance(labels, np.stack([first, second]), patient)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if not variance > SMALLEST_VARIANCE:
        return None, None
    z = float((auc[1] - auc[0]) / np.sqrt(variance))
    return z, float(2 * ndtr(-abs(z)))


def mcnemar_test(first: np.ndarray, second: np.ndarray, patient: np.ndarray) -> tuple[float | None, float | None]:
    """Test that two systems are right (bool [n] each) equally often on the same cases, several of a patient (int [n]).

    Obuchowski 1998 (Statistics in Medicine 17:1495), in the form of Yang et al. 2010: (K-1)/K (Σd)² / Σd² over K
    patients, where d is how many more of a patient's cases the second gets right.

    Returns:
        Chi-square with one degree of freedom, and p; None where the two never differ, or there is only one patient.
    """
    gained = np.bincount(patient, weights=second.astype(float) - first) if len(patient) else np.zeros(0)
    clusters, squares = len(np.unique(patient)), float((gained**2).sum())
    if squares == 0 or clusters < 2:
        return None, None
    statistic = (clusters - 1) / clusters * float(gained.sum()) ** 2 / squares
    return statistic, float(chdtrc(1, statistic))


def _with_holm(pairs: list[Comparison]) -> tuple[Comparison, ...]:
    """Adjust each metric's p for the number of pairs (Holm 1979), since several systems are compared with the first."""
    rows = [list(pair.differences) for pair in pairs]
    for number in range(len(rows[0])):
        p_values = {pair: p for pair, row in enumerate(rows) if (p := row[number].p) is not None}
        largest = 0.0
        for rank, pair in enumerate(sorted(p_values, key=p_values.__getitem__)):
            largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[pair]))
            rows[pair][number] = replace(rows[pair][number], p_holm=largest)
    return tuple(replace(one, differences=tuple(row)) for one, row in zip(pairs, rows, strict=True))
