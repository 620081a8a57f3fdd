"""Two systems' score tables of the same cases in, every metric's difference with interval and test out."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import chdtrc, ndtr

from mammo.evaluation.bootstrap import Resamples, resample, with_interval
from mammo.evaluation.calibration import measure_calibration
from mammo.evaluation.cases import Cases
from mammo.evaluation.delong import SMALLEST_VARIANCE, auc_covariance
from mammo.evaluation.judge import Decisions, How, case_thresholds, one_decision
from mammo.evaluation.levels import gather_level
from mammo.evaluation.metrics import Metric, count_confusion, measure_at, measure_ranking
from mammo.evaluation.scores import check_same_cases


@dataclass(frozen=True)
class System:
    """A judged system: its name, its score table and its decision (or each fold's)."""

    name: str
    scores: pd.DataFrame
    decisions: Decisions


@dataclass(frozen=True)
class Difference:
    """A metric of both, and the second's minus the first's; `test` says what `p` is of, `p_holm` is it among all pairs."""

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
    """A system beside the first, at one level, each at its own main operating point (rule, and threshold where there is one)."""

    first: str
    second: str
    rules: tuple[str, str]
    thresholds: tuple[float | None, float | None]
    how: How
    level: str
    n: int
    n_positive: int
    n_patients: int
    differences: tuple[Difference, ...]

    def as_json(self) -> dict[str, object]:
        """The plain form."""
        plain = [
            asdict(one) | {name: getattr(one, name).as_json() for name in ("first", "second", "difference")}
            for one in self.differences
        ]
        return {name: value for name, value in asdict(self).items() if name != "differences"} | {"differences": plain}


def compare(systems: Sequence[System], *, level: str = "", how: How | None = None) -> tuple[Comparison, ...]:
    """Compare the others with the first.

    Args:
        systems: At least two; their tables need not have the same order.
        level: Where to compare; the first one's task, where it is not given.
        how: Of intervals; the same patients are drawn for all.

    Raises:
        ScoreError: They were not judged on the same cases.
    """
    tables = check_same_cases([system.scores for system in systems], [system.name for system in systems])
    level = level or one_decision(systems[0].decisions).task
    how = how or How()
    sides = [_Side.of(replace(system, scores=table), level, how) for system, table in zip(systems, tables, strict=True)]
    pairs = [_compare_pair(sides[0], side, level, how) for side in sides[1:]]
    return tuple(_with_holm(pairs))


@dataclass(frozen=True)
class _Side:
    name: str
    rule: str
    cases: Cases
    metrics: dict[str, Metric]
    resamples: dict[str, np.ndarray]

    @staticmethod
    def of(system: System, level: str, how: How) -> "_Side":
        decision = one_decision(system.decisions)
        frame = gather_level(system.scores, level, task=decision.task, how=decision.level_score)
        cases = Cases.of(frame, case_thresholds(frame, system.decisions, level)[:1])
        counted = count_confusion(cases.labels, cases.scores, cases.thresholds[0])
        metrics = measure_ranking(cases.labels, cases.scores) | measure_calibration(cases) | measure_at(counted)
        drawn: Resamples = resample(cases, resamples=how.resamples, seed=how.seed)
        return _Side(system.name, decision.rule, cases, metrics, drawn.ranking | drawn.points[0])


def _compare_pair(first: _Side, second: _Side, level: str, how: How) -> Comparison:
    tests = _tests(first.cases, second.cases)
    differences = []
    for name, metric in first.metrics.items():
        other = second.metrics[name]
        if metric.value is None or other.value is None:
            gap = Metric(None, metric.undefined or other.undefined)
        else:
            gap = with_interval(Metric(other.value - metric.value), second.resamples[name] - first.resamples[name])
        test, statistic, p = tests.get(name, ("", None, None))
        differences.append(Difference(name, metric, other, gap, test, statistic, p))
    cases = first.cases
    return Comparison(
        first.name,
        second.name,
        (first.rule, second.rule),
        (_shared_threshold(first.cases), _shared_threshold(second.cases)),
        how,
        level,
        len(cases),
        int(cases.malignant.sum()),
        cases.patients,
        tuple(differences),
    )


def _shared_threshold(cases: Cases) -> float | None:
    """The one that all cases are called at; None where each fold has its own."""
    thresholds = cases.thresholds[0]
    return float(thresholds[0]) if np.ptp(thresholds) == 0 else None


def _tests(first: Cases, second: Cases) -> dict[str, tuple[str, float | None, float | None]]:
    found = {"auc": ("DeLong, clustered", *delong_test(first.labels, first.scores, second.scores, first.patient))}
    right = [cases.called(0) == cases.malignant for cases in (first, second)]
    for name, rows in (
        ("recall", first.malignant),
        ("specificity", ~first.malignant),
        ("accuracy", np.ones(len(first), bool)),
    ):
        found[name] = ("McNemar, clustered", *mcnemar_test(right[0][rows], right[1][rows], first.patient[rows]))
    return found


def delong_test(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, patient: np.ndarray
) -> tuple[float | None, float | None]:
    """Test that two AUCs of the same cases are equal (Obuchowski 1997): z of the second minus the first, and two-sided p.

    None where there is no variance to test against: one class, or two systems that rank alike.
    """
    found = auc_covariance(labels, np.stack([first, second]), patient)
    variance = found.covariance[0, 0] + found.covariance[1, 1] - 2 * found.covariance[0, 1]
    if not variance > SMALLEST_VARIANCE:
        return None, None
    z = float((found.auc[1] - found.auc[0]) / np.sqrt(variance))
    return z, float(2 * ndtr(-abs(z)))


def mcnemar_test(first: np.ndarray, second: np.ndarray, patient: np.ndarray) -> tuple[float | None, float | None]:
    """Test that two systems are right equally often on the same cases, several of a patient.

    Obuchowski 1998 (Statistics in Medicine 17:1495), in the form of Yang et al. 2010: (K-1)/K (Σd)² / Σd² over K patients,
    d how many more of a patient's cases the second gets right. Chi-square of one degree of freedom, and p.

    Args:
        first: Whether the first is right, bool [n].
        second: Whether the second is.
        patient: The cluster of each case.

    Returns:
        None twice where the two never differ, or there is one patient only.
    """
    gained = np.bincount(patient, weights=second.astype(float) - first) if len(patient) else np.zeros(0)
    clusters, squares = len(np.unique(patient)), float((gained**2).sum())
    if squares == 0 or clusters < 2:
        return None, None
    statistic = (clusters - 1) / clusters * float(gained.sum()) ** 2 / squares
    return statistic, float(chdtrc(1, statistic))


def _with_holm(pairs: list[Comparison]) -> list[Comparison]:
    """Adjust each metric's p over the pairs (Holm 1979), since several systems are compared with the first."""
    adjusted: dict[tuple[int, str], float] = {}
    for name in {one.metric for pair in pairs for one in pair.differences if one.p is not None}:
        values = [
            (one.p, number)
            for number, pair in enumerate(pairs)
            for one in pair.differences
            if one.metric == name and one.p is not None
        ]
        largest = 0.0
        for rank, (p, number) in enumerate(sorted(values)):
            largest = max(largest, min(1.0, (len(values) - rank) * p))
            adjusted[number, name] = largest
    return [
        replace(
            pair, differences=tuple(replace(one, p_holm=adjusted.get((number, one.metric))) for one in pair.differences)
        )
        for number, pair in enumerate(pairs)
    ]
