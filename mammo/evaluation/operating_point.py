"""Validation scores and rules in, thresholds out: the only place where a threshold is chosen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import TypeAdapter, ValidationError

from mammo.errors import ScoreError
from mammo.evaluation.calibration import Calibrator
from mammo.evaluation.levels import levels_of
from mammo.settings.types import LevelScore, Task

FRONT = ("rule", "threshold", "temperature")


@dataclass(frozen=True)
class Point:
    """An operating point: its rule, the threshold at each level, and what it reached on the part it was chosen on.

    `borrowed` are levels where that part has one class only: there the task's own threshold is taken.
    """

    rule: str
    thresholds: dict[str, float]
    recall: float | None = None
    specificity: float | None = None
    borrowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """How a logit becomes a score and a score a call, and on what that was chosen; kept as `decision.json`.

    `points[0]` is the operating point that results are quoted at; the others are reported beside it. A case at or above a
    threshold is called malignant.
    """

    points: tuple[Point, ...]
    calibrator: Calibrator
    task: Task
    level_score: LevelScore
    part: str
    cases: int
    positives: int
    split_sha256: str

    @property
    def rule(self) -> str:
        """The rule of the main operating point."""
        return self.points[0].rule

    @property
    def threshold(self) -> float:
        """Its threshold for a case of the task."""
        return self.points[0].thresholds[self.task]

    def as_json(self) -> dict[str, object]:
        """The plain form, with what most readers look for in front."""
        front = (self.rule, self.threshold, self.calibrator.temperature)
        return dict(zip(FRONT, front, strict=True)) | asdict(self)

    @staticmethod
    def of_json(values: object) -> "Decision":
        """Read the plain form back.

        Raises:
            ValueError: It is something else.
        """
        plain = (
            {name: value for name, value in values.items() if name not in FRONT} if isinstance(values, dict) else values
        )
        try:
            decision: Decision = TypeAdapter(Decision).validate_python(plain)
        except ValidationError as error:
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()]
            raise ValueError("; ".join(faults[:3])) from error
        thresholds = [threshold for point in decision.points for threshold in point.thresholds.values()]
        complete = all(set(levels_of(decision.task)) <= set(point.thresholds) for point in decision.points)
        calibrator = decision.calibrator
        steps = len(calibrator.logits) == len(calibrator.probabilities) and (
            calibrator.method != "isotonic" or calibrator.logits
        )
        if not decision.points or not complete or not all(0 <= threshold <= 1 + 1e-12 for threshold in thresholds):
            raise ValueError("expected a threshold in 0-1 for every level of every operating point")
        if not 0 < calibrator.temperature < np.inf or not steps:
            raise ValueError("expected a temperature above 0, and for isotonic as many logits as probabilities")
        return decision


def fixed_decision(
    threshold: float, *, rule: str, task: Task, levels: Sequence[str], level_score: LevelScore = "max"
) -> Decision:
    """A decision that no data chose, the same threshold at every level."""
    point = Point(rule, dict.fromkeys(levels, threshold))
    return Decision((point,), Calibrator(), task, level_score, "none", 0, 0, "")


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
        raise ScoreError(
            f"operating point {rule}: expected scores of both classes, got {len(labels)} cases of one class"
        )
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
    side, call = (
        ("at or above", "called malignant") if score >= decision.threshold else ("below", "not called malignant")
    )
    chosen = f"chosen for {decision.rule} on {decision.cases} {decision.part} cases"
    digits = 3 if f"{score:.3f}" != f"{decision.threshold:.3f}" or score == decision.threshold else 6
    return f"{call}: {score:.{digits}f} is {side} the threshold {decision.threshold:.{digits}f} ({chosen})"
