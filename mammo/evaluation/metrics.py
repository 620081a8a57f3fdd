"""Labels and scores in, metrics over the whole set out; a metric that has no meaning there says why, and is no NaN."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score


@dataclass(frozen=True)
class Metric:
    """A value, or None and the reason why there is none."""

    value: float | None
    undefined: str = ""

    def __str__(self) -> str:
        return "-" if self.value is None else f"{self.value:.3f}"


@dataclass(frozen=True)
class Confusion:
    """Counts at a threshold; positive means malignant."""

    true_positive: int
    false_positive: int
    true_negative: int
    false_negative: int


AT_THRESHOLD = ("accuracy", "recall", "specificity", "precision", "f1", "balanced_accuracy")
RANKING = ("auc", "average_precision", "brier")


def count_confusion(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Confusion:
    """Count; a case is called malignant when its score is at or above the threshold."""
    called = scores >= threshold
    malignant = labels == 1
    return Confusion(
        int((called & malignant).sum()),
        int((called & ~malignant).sum()),
        int((~called & ~malignant).sum()),
        int((~called & malignant).sum()),
    )


def measure_ranking(labels: np.ndarray, scores: np.ndarray) -> dict[str, Metric]:
    """AUC, average precision and Brier score (of scores in 0-1)."""
    brier = Metric(float(np.mean((scores - labels) ** 2))) if len(labels) else Metric(None, "no cases")
    if len(np.unique(labels)) < 2:
        alone = Metric(None, "one class only" if len(labels) else "no cases")
        return {"auc": alone, "average_precision": alone, "brier": brier}
    return {
        "auc": Metric(float(roc_auc_score(labels, scores))),
        "average_precision": Metric(float(average_precision_score(labels, scores))),
        "brier": brier,
    }


def measure_at(confusion: Confusion) -> dict[str, Metric]:
    """Accuracy, recall (sensitivity), specificity, precision (PPV), F1 and balanced accuracy."""
    hit, alarm, quiet, miss = confusion.true_positive, confusion.false_positive, confusion.true_negative, confusion.false_negative
    recall = _ratio(hit, hit + miss, "no malignant case")
    specificity = _ratio(quiet, quiet + alarm, "no benign case")
    if recall.value is None or specificity.value is None:
        balanced = Metric(None, recall.undefined or specificity.undefined)
    else:
        balanced = Metric((recall.value + specificity.value) / 2)
    return {
        "accuracy": _ratio(hit + quiet, hit + alarm + quiet + miss, "no cases"),
        "recall": recall,
        "specificity": specificity,
        "precision": _ratio(hit, hit + alarm, "no case called malignant"),
        "f1": _ratio(2 * hit, 2 * hit + alarm + miss, "no malignant case, and none called so"),
        "balanced_accuracy": balanced,
    }


def _ratio(part: int, whole: int, reason: str) -> Metric:
    return Metric(part / whole) if whole else Metric(None, reason)


def cross_entropy(labels: np.ndarray, logits: np.ndarray) -> float:
    """Mean negative log-likelihood of labels under logits (log-odds of malignancy), natural logarithm."""
    return float(np.mean(np.logaddexp(0.0, np.where(labels == 1, -logits, logits))))
