"""Gives every metric a 95 % interval: by a bootstrap over patients, and for the AUC also by DeLong's method.

Cases of one patient resemble each other, so an interval over cases would be too narrow (Rutter 2000, Academic Radiology
7:413); patients are drawn with replacement, each with all of her cases. The ends are percentiles of the resamples. For
two systems judged on the same cases with the same seed, the same patients are drawn, so their differences are paired.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from mammo.evaluation.metrics import ECE_BINS, SCREENING, Metric, ece_bin, metric_or, per_thousand, ratios
from mammo.evaluation.scores import Cases
from mammo.evaluation.weighted import Calibration, Ranking, sum_by_patient
from mammo.progress import track
from mammo.settings.metrics import ALL_ALIKE, ONE_CLASS

LEVEL = 0.95
# Where a metric has no value in many resamples, an interval over the others is not valid.
MOST_UNDEFINED = 0.05
ELEMENTS_AT_ONCE = 1 << 20
MOST_WITHOUT_PROGRESS = 50_000_000  # cases × resamples that take about two seconds
FIXED_SUMS = 2 + ECE_BINS  # the sums that no operating point changes
SMALLEST_VARIANCE = 1e-15


@dataclass(frozen=True)
class Resamples:
    """Metrics of resamples, float64 [resamples] each, NaN where undefined: without a threshold, and at each point."""

    ranking: dict[str, np.ndarray]
    points: tuple[dict[str, np.ndarray], ...]


def resample(cases: Cases, *, resamples: int, seed: int = 0, calibration: bool = True) -> Resamples:
    """Measure every resample of at least one case; calibration slope and intercept, the slowest, only if asked."""
    ranking, fit = Ranking(cases), Calibration(cases) if calibration else None
    sums = sum_by_patient(cases, _columns(cases))
    parts, counted = [], []
    for counts in draw_for(cases, resamples, seed=seed):
        added = sums @ counts
        brier, ece = added[1] / added[0], np.abs(added[2:FIXED_SUMS]).sum(axis=0) / added[0]
        fitted = fit.measure(counts) if fit else {}
        parts.append(ranking.measure(counts) | {"brier": brier, "ece": ece} | fitted)
        counted.append(added[FIXED_SUMS:])
    tallies = np.concatenate(counted, axis=1)
    points = tuple(ratios(*tallies[4 * point : 4 * point + 4]) for point in range(len(cases.thresholds)))
    return Resamples({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, points)


def _columns(cases: Cases) -> np.ndarray:
    """What is summed over patients: number, squared error, signed error by bin, and the four counts of each point."""
    error = cases.scores - cases.labels
    bins = ece_bin(cases.scores)
    columns = [np.ones(len(cases)), error**2, *(np.where(bins == number, error, 0.0) for number in range(ECE_BINS))]
    malignant = cases.malignant
    for point in range(len(cases.thresholds)):
        called = cases.called(point)
        columns += [called & malignant, called & ~malignant, ~called & ~malignant, ~called & malignant]
    return np.stack(columns).astype(float)


def draw_for(cases: Cases, resamples: int, *, seed: int) -> Iterator[np.ndarray]:
    """Draw patients as `draw_patients` does, as many resamples at a time as suits the cases; shows progress."""
    at_once = int(np.clip(ELEMENTS_AT_ONCE // max(len(cases), 1), 8, 64))
    draws = draw_patients(cases.patients, resamples, seed=seed, at_once=at_once)
    if len(cases) * resamples > MOST_WITHOUT_PROGRESS:
        draws = track(draws, -(-resamples // at_once), f"resampling {cases.patients} patients")
    return draws


def draw_patients(patients: int, resamples: int, *, seed: int, at_once: int = 64) -> Iterator[np.ndarray]:
    """Draw patients with replacement, `at_once` resamples at a time; the draws depend on the seed alone.

    Each time, yields how often each patient was drawn, float64 [patients, up to `at_once`].
    """
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        drawn = generator.integers(0, patients, (size, patients))
        drawn += np.arange(size)[:, None] * patients
        counts = np.bincount(drawn.ravel(), minlength=size * patients).reshape(size, patients)
        yield np.ascontiguousarray(counts.T, dtype=float)


def with_interval(metric: Metric, values: np.ndarray) -> Metric:
    """Add the interval of resamples, float64 [b]; where too many of them are undefined, the reason instead."""
    if metric.value is None:
        return metric
    known = values[np.isfinite(values)]
    undefined = len(values) - len(known)
    if undefined > MOST_UNDEFINED * len(values):
        return replace(metric, no_interval=f"it has no value in {undefined} of {len(values)} resamples")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if low == high:
        return replace(metric, no_interval="every resample has the same value")
    return replace(metric, low=float(low), high=float(high))


def with_intervals(metrics: dict[str, Metric], values: dict[str, np.ndarray]) -> dict[str, Metric]:
    """Add the interval to every metric that has resamples."""
    return {name: with_interval(metric, values[name]) if name in values else metric for name, metric in metrics.items()}


def screened(measured: dict[str, Metric], resampled: dict[str, np.ndarray], prevalence: float) -> dict[str, Metric]:
    """What a thousand screened people would see, with intervals."""
    recall, specificity = measured["recall"], measured["specificity"]
    if recall.value is None or specificity.value is None:
        return dict.fromkeys(SCREENING, Metric(None, recall.undefined or specificity.undefined))
    values = per_thousand(np.array(recall.value), np.array(specificity.value), prevalence)
    plain = {name: metric_or(value, ALL_ALIKE[0]) for name, value in values.items()}
    return with_intervals(plain, per_thousand(resampled["recall"], resampled["specificity"], prevalence))


def with_exact_bounds(metrics: dict[str, Metric], cases: Cases, point: int) -> dict[str, Metric]:
    """Give proportions of exactly 0 or 1, whose resamples are all equal, the exact bound for the number of patients.

    Clopper & Pearson 1934 (Biometrika 26:404): for n trials with the same outcome, the bound is 0.025^(1/n). A patient
    counts once, however many cases she has; this makes the interval wider rather than too narrow.
    """
    called, malignant = cases.called(point), cases.malignant
    rows = {"recall": malignant, "specificity": ~malignant, "precision": called, "npv": ~called}
    rows["accuracy"] = np.ones(len(cases), bool)
    bounded = dict(metrics)
    for name, of in rows.items():
        metric = metrics[name]
        if metric.value in (0.0, 1.0) and metric.low is None:
            bound = ((1 - LEVEL) / 2) ** (1 / len(np.unique(cases.patient[of])))
            low, high = (bound, 1.0) if metric.value == 1.0 else (0.0, 1 - bound)
            bounded[name] = replace(metric, low=low, high=high, no_interval="")
    return bounded


def auc_interval(labels: np.ndarray, scores: np.ndarray, patient: np.ndarray) -> Metric:
    """AUC of scores, float64 [n], with DeLong's interval, cut at 0 and 1; near these, with few cases, it is too narrow.

    `labels` (0 or 1) and `patient` (from 0) are int [n].
    """
    aucs, covariance = auc_covariance(labels, scores[None], patient)
    auc, variance = float(aucs[0]), float(covariance[0, 0])
    if np.isnan(auc):
        return Metric(None, ONE_CLASS[0])
    if np.isnan(variance):
        return Metric(auc, no_interval="fewer than two patients with malignant, or with benign, cases")
    if not variance > SMALLEST_VARIANCE:
        return Metric(auc, no_interval="the estimated variance is zero")
    half = float(ndtri((1 + LEVEL) / 2) * np.sqrt(variance))
    return Metric(auc, "", max(auc - half, 0.0), min(auc + half, 1.0))


def auc_covariance(labels: np.ndarray, scores: np.ndarray, patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Estimate AUCs and their covariance by DeLong's method, in its form for clusters.

    DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44:837) for independent cases; Obuchowski 1997 (Biometrics 53:567)
    where a patient has several. With one case per patient, the two are equal.

    Args:
        labels: 0 or 1, int [n].
        scores: float64 [k, n], a row per system.
        patient: The cluster of each case, int [n] from 0.

    Returns:
        AUCs, float64 [k], and covariance, float64 [k, k]: both NaN with one class only; the covariance alone is NaN
        with fewer than two patients of a class.
    """
    malignant = labels == 1
    positives, negatives = int(malignant.sum()), int((~malignant).sum())
    unknown = np.full((len(scores), len(scores)), np.nan)
    if not positives or not negatives:
        return unknown[0], unknown
    owners = patient.max() + 1
    with_positive, with_negative = len(np.unique(patient[malignant])), len(np.unique(patient[~malignant]))
    clusters = len(np.unique(patient))
    aucs, hits, alarms = [], [], []
    for row in scores:
        # For each positive the share of negatives below it, for each negative that of positives above; ties count half.
        above, below = _share_below(row[malignant], row[~malignant]), 1 - _share_below(row[~malignant], row[malignant])
        auc = above.mean()
        aucs.append(auc)
        hits.append(np.bincount(patient[malignant], weights=above - auc, minlength=owners))
        alarms.append(np.bincount(patient[~malignant], weights=below - auc, minlength=owners))
    if with_positive < 2 or with_negative < 2:
        return np.array(aucs), unknown
    hit, alarm = np.stack(hits), np.stack(alarms)
    first = with_positive / (with_positive - 1) * (hit @ hit.T) / positives**2
    second = with_negative / (with_negative - 1) * (alarm @ alarm.T) / negatives**2
    mixed = clusters / (clusters - 1) * (hit @ alarm.T) / (positives * negatives)
    return np.array(aucs), first + second + mixed + mixed.T


def _share_below(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    ordered = np.sort(others)
    return np.asarray(ordered.searchsorted(values, "left") + ordered.searchsorted(values, "right")) / (2 * len(others))
