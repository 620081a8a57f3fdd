"""Measures scores against labels over the whole set; a metric that is undefined there says why, and is never NaN."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mammo.settings.metrics import METRICS, ONE_CLASS

ECE_BINS = 15
NO_CASES = "no cases"
SCREENING = ("recalled_per_1000", "found_per_1000", "missed_per_1000", "ppv_at_prevalence", "npv_at_prevalence")
UNDEFINED = {metric.key: metric.undefined[0] for metric in METRICS}


@dataclass(frozen=True)
class Metric:
    """A value, or None and the reason why it is undefined; `low` to `high` is its 95 % interval, where it has one."""

    value: float | None
    undefined: str = ""
    low: float | None = None
    high: float | None = None
    no_interval: str = ""

    def __str__(self) -> str:
        return "-" if self.value is None else f"{self.value:.3f}"

    def with_bounds(self, digits: int = 3) -> str:
        """The value with its interval, such as `0.792 (0.726–0.850)`."""
        if self.value is None:
            return "-"
        interval = f" ({self.low:.{digits}f}–{self.high:.{digits}f})" if self.low is not None else ""
        return f"{self.value:.{digits}f}{interval}"

    def as_difference(self, digits: int = 3) -> str:
        """A difference with its interval, of so many digits, such as `-0.128 (-0.213 to -0.034)`."""
        if self.value is None:
            return "-"
        interval = f" ({self.low:+.{digits}f} to {self.high:+.{digits}f})" if self.low is not None else ""
        return f"{self.value:+.3f}{interval}"

    def as_json(self) -> dict[str, object]:
        """The plain form: the reason for a missing value, never NaN."""
        if self.value is None:
            return {"value": None, "undefined": self.undefined}
        if self.low is None:
            return {"value": self.value} | ({"no_interval": self.no_interval} if self.no_interval else {})
        return {"value": self.value, "low": self.low, "high": self.high}


class Confusion(NamedTuple):
    """Counts at a threshold; positive means malignant."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


def metric_or(value: float | np.ndarray, reason: str) -> Metric:
    """A metric with one value, or with the reason where it is NaN."""
    return Metric(None, reason) if np.isnan(value) else Metric(float(value))


def count_confusion(labels: np.ndarray, scores: np.ndarray, threshold: float | np.ndarray) -> Confusion:
    """Count calls of scores 0-1, float [n], with labels 0 or 1, int [n].

    At or above the threshold, one or float [n], a case is called malignant.
    """
    called = scores >= threshold
    malignant = labels == 1
    return Confusion(
        int((called & malignant).sum()),
        int((called & ~malignant).sum()),
        int((~called & ~malignant).sum()),
        int((~called & malignant).sum()),
    )


def measure_ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, Metric]:
    """Measure AUC, average precision, Brier score and ECE of scores 0-1, float [n], with labels 0 or 1, int [n]."""
    if not len(labels):
        return dict.fromkeys(("auc", "average_precision", "brier", "ece"), Metric(None, NO_CASES))
    brier, ece = float(np.mean((scores - labels) ** 2)), expected_calibration_error(labels, scores)
    calibrated = {"brier": Metric(brier), "ece": Metric(ece)}
    if len(np.unique(labels)) < 2:
        return dict.fromkeys(("auc", "average_precision"), Metric(None, ONE_CLASS[0])) | calibrated
    from sklearn.metrics import average_precision_score, roc_auc_score

    auc, precision = roc_auc_score(labels, scores), average_precision_score(labels, scores)
    return {"auc": Metric(float(auc)), "average_precision": Metric(float(precision))} | calibrated


def measure_at(confusion: Confusion) -> dict[str, Metric]:
    """Measure what `ratios` computes, of one confusion matrix."""
    found = ratios(*np.array(confusion, float))
    measured = {name: metric_or(value, UNDEFINED[name]) for name, value in found.items()}
    reason = measured["recall"].undefined or measured["specificity"].undefined
    return measured | ({"balanced_accuracy": Metric(None, reason)} if reason else {})


def ratios(hit: np.ndarray, alarm: np.ndarray, quiet: np.ndarray, miss: np.ndarray) -> dict[str, np.ndarray]:
    """Compute every metric that depends on a threshold: accuracy, recall (sensitivity), specificity, precision (PPV), …

    Takes true and false positives, true and false negatives: float, all of one shape. Returns each metric in that
    shape, 0-1, NaN where undefined.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, specificity = hit / (hit + miss), quiet / (quiet + alarm)
        return {
            "accuracy": (hit + quiet) / (hit + alarm + quiet + miss),
            "recall": recall,
            "specificity": specificity,
            "precision": hit / (hit + alarm),
            "npv": quiet / (quiet + miss),
            "f1": 2 * hit / (2 * hit + alarm + miss),
            "balanced_accuracy": (recall + specificity) / 2,
        }


def per_thousand(recall: np.ndarray, specificity: np.ndarray, prevalence: float) -> dict[str, np.ndarray]:
    """What recall and specificity, float64 [b] each, mean in screening, where they carry over to its prevalence.

    The default prevalence, 0.006 cancers per screened person, is near that of the Breast Cancer Surveillance
    Consortium's 2007-2013 benchmarks: 5.1 per 1,000 found and 0.8 missed (Lehman et al. 2017, Radiology 283:49).

    Returns:
        `recalled_per_1000` people, `found_per_1000` and `missed_per_1000` cancers, and `ppv_at_prevalence` and
        `npv_at_prevalence`, NaN where no one is called malignant, or everyone.
    """
    found, alarmed = prevalence * recall, (1 - prevalence) * (1 - specificity)
    missed, quiet = prevalence * (1 - recall), (1 - prevalence) * specificity
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "recalled_per_1000": 1000 * (found + alarmed),
            "found_per_1000": 1000 * found,
            "missed_per_1000": 1000 * missed,
            "ppv_at_prevalence": found / (found + alarmed),
            "npv_at_prevalence": quiet / (quiet + missed),
        }


def ece_bin(scores: np.ndarray) -> np.ndarray:
    """The bin of each score, int [n], of `ECE_BINS` equally wide ones over 0-1; one on an edge belongs to the lower."""
    return np.searchsorted(np.linspace(0, 1, ECE_BINS + 1)[1:-1], scores)


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean distance of score and malignant share over bins, weighted by cases (Guo et al. 2017, arXiv:1706.04599).

    Labels are 0 or 1, int [n]; scores 0-1, float [n].
    """
    errors = np.bincount(ece_bin(scores), weights=scores - labels, minlength=ECE_BINS)
    return float(np.abs(errors).sum() / len(scores))


def cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean negative log-likelihood (natural) of labels 0 or 1, int [n], under log-odds of malignancy, float [n]."""
    return float(np.mean(np.logaddexp(0.0, np.where(labels == 1, -logits, logits))))
