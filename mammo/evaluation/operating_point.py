"""Validation scores and a rule in, one threshold out: the only place where a threshold is chosen."""

from dataclasses import dataclass

import numpy as np

from mammo.errors import ScoreError


@dataclass(frozen=True)
class Decision:
    """How a score is turned to a call, and on what that was chosen; kept as `decision.json`.

    `threshold` applies to the score; a case at or above it is called malignant. `temperature` divides the logit.
    """

    rule: str
    threshold: float
    temperature: float
    part: str
    cases: int
    positives: int
    split_sha256: str


def choose_threshold(labels: np.ndarray, scores: np.ndarray, rule: str) -> float:
    """Choose a threshold.

    Args:
        labels: 0 or 1.
        scores: 0-1.
        rule: `recall>=R` (the highest threshold that reaches R), `specificity>=S` (the lowest that reaches S), `youden`
            (highest recall + specificity - 1; the lower threshold of equals), or a fixed number.

    Raises:
        ScoreError: The rule needs both classes and one is missing.
    """
    name, _, bound = rule.partition(">=")
    if name not in ("recall", "specificity", "youden"):
        return float(rule)
    if len(np.unique(labels)) < 2:
        raise ScoreError(f"operating point {rule}: expected scores of both classes, got {len(labels)} cases of one class")
    thresholds, recall, specificity = sweep(labels, scores)
    if name == "recall":
        return float(thresholds[np.flatnonzero(recall >= float(bound) - 1e-12)[-1]])
    if name == "specificity":
        return float(thresholds[np.flatnonzero(specificity >= float(bound) - 1e-12)[0]])
    return float(thresholds[np.argmax(np.round(recall + specificity, 12))])


def sweep(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every threshold that changes a call, ascending, with recall and specificity at each; the last calls nothing malignant."""
    values = np.unique(scores)
    thresholds = np.append(values, np.nextafter(values[-1], np.inf))
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    recall = 1 - np.searchsorted(positive, thresholds, side="left") / len(positive)
    specificity = np.searchsorted(negative, thresholds, side="left") / len(negative)
    return thresholds, recall, specificity


def in_words(score: float, decision: Decision) -> str:
    """Say what a score means at the operating point."""
    side, call = ("at or above", "called malignant") if score >= decision.threshold else ("below", "not called malignant")
    chosen = f"chosen for {decision.rule} on {decision.cases} {decision.part} cases"
    digits = 3 if f"{score:.3f}" != f"{decision.threshold:.3f}" or score == decision.threshold else 6
    return f"{call}: {score:.{digits}f} is {side} the threshold {decision.threshold:.{digits}f} ({chosen})"
