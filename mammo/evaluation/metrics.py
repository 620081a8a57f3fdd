"""Labels and scores in, metrics over the whole set out; a metric that has no meaning there says why, and is no NaN."""

from dataclasses import dataclass

import numpy as np

ECE_BINS = 15


@dataclass(frozen=True)
class Metric:
    """A value, or None and the reason why there is none; `low` to `high` is its 95 % interval, where it has one."""

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

    def as_json(self) -> dict[str, object]:
        """The plain form: what is not known is named, never NaN."""
        if self.value is None:
            return {"value": None, "undefined": self.undefined}
        if self.low is None:
            return {"value": self.value} | ({"no_interval": self.no_interval} if self.no_interval else {})
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Confusion:
    """Counts at a threshold; positive means malignant."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


RANKING = ("auc", "average_precision", "brier", "ece")
# Why a ratio has no value, by its metric; `balanced_accuracy` takes the reason of recall or specificity.
NO_RATIO = {
    "accuracy": "no cases",
    "recall": "no malignant case",
    "specificity": "no benign case",
    "precision": "no case called malignant",
    "npv": "no case called benign",
    "f1": "no malignant case, and none called so",
}


def count_confusion(labels: np.ndarray, scores: np.ndarray, threshold: float | np.ndarray) -> Confusion:
    """Count; a case is called malignant when its score is at or above the threshold (one, or one per case)."""
    called = scores >= threshold
    malignant = labels == 1
    return Confusion(
        int((called & malignant).sum()),
        int((called & ~malignant).sum()),
        int((~called & ~malignant).sum()),
        int((~called & malignant).sum()),
    )


def measure_ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, Metric]:
    """AUC, average precision, Brier score and expected calibration error (of scores in 0-1)."""
    if not len(labels):
        return dict.fromkeys(RANKING, Metric(None, "no cases"))
    calibrated = {
        "brier": Metric(float(np.mean((scores - labels) ** 2))),
        "ece": Metric(expected_calibration_error(labels, scores)),
    }
    if len(np.unique(labels)) < 2:
        alone = Metric(None, "one class only")
        return {"auc": alone, "average_precision": alone} | calibrated
    from sklearn.metrics import average_precision_score, roc_auc_score

    return {
        "auc": Metric(float(roc_auc_score(labels, scores))),
        "average_precision": Metric(float(average_precision_score(labels, scores))),
    } | calibrated


def measure_at(confusion: Confusion) -> dict[str, Metric]:
    """Accuracy, recall (sensitivity), specificity, precision (PPV), NPV, F1 and balanced accuracy."""
    tallies = (confusion.true_positive, confusion.false_positive, confusion.true_negative, confusion.false_negative)
    values = {name: float(value[0]) for name, value in ratios(*(np.array([float(count)]) for count in tallies)).items()}
    measured = {
        name: Metric(None, NO_RATIO[name]) if np.isnan(values[name]) else Metric(values[name]) for name in NO_RATIO
    }
    halves = measured["recall"].undefined or measured["specificity"].undefined
    return measured | {"balanced_accuracy": Metric(None, halves) if halves else Metric(values["balanced_accuracy"])}


def ratios(hit: np.ndarray, alarm: np.ndarray, quiet: np.ndarray, miss: np.ndarray) -> dict[str, np.ndarray]:
    """The metrics of `measure_at` from counts (true and false positives, true and false negatives), NaN where undefined."""
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


def ece_bin(scores: np.ndarray) -> np.ndarray:
    """The bin of each score, of `ECE_BINS` equally wide ones over 0-1; a score between two belongs to the lower."""
    return np.searchsorted(np.linspace(0, 1, ECE_BINS + 1)[1:-1], scores)


def expected_calibration_error(labels: np.ndarray, scores: np.ndarray) -> float:
    """Mean distance of score and malignant share over bins, by their cases (Guo et al. 2017, arXiv:1706.04599; 15 bins)."""
    errors = np.bincount(ece_bin(scores), weights=scores - labels, minlength=ECE_BINS)
    return float(np.abs(errors).sum() / len(scores))


def cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean negative log-likelihood of labels under logits (log-odds of malignancy), natural logarithm."""
    return float(np.mean(np.logaddexp(0.0, np.where(labels == 1, -logits, logits))))
