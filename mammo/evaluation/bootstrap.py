"""Cases in, a 95 % interval for every metric out: patients are drawn with replacement, each with all of her cases.

Cases of one patient resemble each other, so an interval over cases would be too narrow (Rutter 2000, Academic Radiology
7:413). The ends are percentiles of the resamples. Two systems judged on the same cases with the same seed are drawn the
same patients, so differences of their resamples are paired.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mammo.evaluation.cases import Cases
from mammo.evaluation.metrics import ECE_BINS, Metric, ece_bin, ratios
from mammo.evaluation.weighted import Calibration, Ranking, sum_by_patient
from mammo.progress import track

RESAMPLES = 2000
LEVEL = 0.95
# An interval over the resamples in which a metric has a value says nothing where many have none.
MOST_UNDEFINED = 0.05
ELEMENTS_AT_ONCE = 1 << 20
MOST_SILENT = 50_000_000  # cases × resamples that take about two seconds


@dataclass(frozen=True)
class Resamples:
    """The resamples' metrics, float64 [resamples] each, NaN where undefined: of the whole, and of each operating point."""

    ranking: dict[str, np.ndarray]
    points: tuple[dict[str, np.ndarray], ...]


def resample(cases: Cases, *, resamples: int = RESAMPLES, seed: int = 0, calibration: bool = True) -> Resamples:
    """Measure every resample.

    Args:
        cases: At least one.
        resamples: How many.
        seed: Draws the patients.
        calibration: Whether slope and intercept, the slowest, are wanted.
    """
    ranked, calibrated = Ranking(cases), Calibration(cases) if calibration else None
    sums = sum_by_patient(cases, _columns(cases))
    whole, counted = [], []
    at_once = _at_once(len(cases))
    draws = draw_patients(cases.patients, resamples, seed=seed, at_once=at_once)
    if len(cases) * resamples > MOST_SILENT:
        draws = track(draws, -(-resamples // at_once), f"resampling {cases.patients} patients")
    for counts in draws:
        added = sums @ counts
        found = ranked.measure(counts) | _brier_and_ece(added)
        whole.append(found | (calibrated.measure(counts) if calibrated else {}))
        counted.append(added[_FIXED:])
    tallies = np.concatenate(counted, axis=1)
    points = tuple(ratios(*tallies[4 * point : 4 * point + 4]) for point in range(len(cases.thresholds)))
    return Resamples({name: np.concatenate([part[name] for part in whole]) for name in whole[0]}, points)


def draw_patients(patients: int, resamples: int, *, seed: int, at_once: int = 64) -> Iterator[np.ndarray]:
    """Draw patients with replacement: how often each was drawn, float64 [patients, up to `at_once`], until `resamples` are done.

    What is drawn depends on the seed alone, not on `at_once`.
    """
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.integers(0, patients, (size, patients))
        drawn += np.arange(size)[:, None] * patients
        counts = np.bincount(drawn.ravel(), minlength=size * patients).reshape(size, patients)
        yield np.ascontiguousarray(counts.T, dtype=float)


def with_interval(metric: Metric, values: np.ndarray) -> Metric:
    """Add the interval that resamples [b] give; a metric, or too many of its resamples, without a value get the reason instead."""
    if metric.value is None:
        return metric
    known = values[np.isfinite(values)]
    gone = len(values) - len(known)
    if gone > MOST_UNDEFINED * len(values):
        return replace(metric, no_interval=f"it has no value in {gone} of {len(values)} resamples")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:
        return replace(metric, no_interval="every resample has the same value")
    return replace(metric, low=float(low), high=float(high))


def with_intervals(metrics: dict[str, Metric], values: dict[str, np.ndarray]) -> dict[str, Metric]:
    """The same for every metric that has resamples."""
    return {name: with_interval(metric, values[name]) if name in values else metric for name, metric in metrics.items()}


def with_exact_bounds(metrics: dict[str, Metric], cases: Cases, point: int) -> dict[str, Metric]:
    """Give proportions of exactly 0 or 1, of which every resample is the same, the exact bound of as many trials as patients.

    Clopper & Pearson 1934 (Biometrika 26:404): of n trials that all went one way, 0.025^(1/n) bounds the other. A patient
    counts once, however many cases she has, which is on the safe side.
    """
    called = cases.called(point)
    rows = {
        "recall": cases.malignant,
        "specificity": ~cases.malignant,
        "precision": called,
        "npv": ~called,
        "accuracy": called | True,
    }
    bounded = dict(metrics)
    for name, of in rows.items():
        metric = metrics[name]
        if metric.value in (0.0, 1.0) and metric.low is None:
            bound = ((1 - LEVEL) / 2) ** (1 / len(np.unique(cases.patient[of])))
            low, high = (bound, 1.0) if metric.value == 1.0 else (0.0, 1 - bound)
            bounded[name] = replace(metric, low=low, high=high, no_interval="")
    return bounded


_FIXED = 2 + ECE_BINS


def _columns(cases: Cases) -> np.ndarray:
    """What is added up over patients: number, squared error, signed error by bin, and the four counts of each point."""
    error = cases.scores - cases.labels
    bins = ece_bin(cases.scores)
    columns = [np.ones(len(cases)), error**2, *(np.where(bins == number, error, 0.0) for number in range(ECE_BINS))]
    for point in range(len(cases.thresholds)):
        called, malignant = cases.called(point), cases.malignant
        columns += [called & malignant, called & ~malignant, ~called & ~malignant, ~called & malignant]
    return np.stack(columns).astype(float)


def _brier_and_ece(added: np.ndarray) -> dict[str, np.ndarray]:
    return {"brier": added[1] / added[0], "ece": np.abs(added[2:_FIXED]).sum(axis=0) / added[0]}


def _at_once(cases: int) -> int:
    return int(np.clip(ELEMENTS_AT_ONCE // max(cases, 1), 8, 64))
