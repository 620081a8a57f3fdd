"""Chooses thresholds on validation scores, and makes the decision: how a logit becomes a score, and a score a call."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from mammo.errors import ScoreError
from mammo.evaluation.calibration import Calibrator, fit_calibrator
from mammo.evaluation.metrics import count_confusion, measure_at
from mammo.evaluation.scores import Cases, gather_level, levels_of, log_odds_of, mean_odds
from mammo.settings.schema import EvaluationSettings
from mammo.settings.types import LevelScore, Task

HALF = "0.5"


@dataclass(frozen=True)
class Point:
    """An operating point: its rule, the threshold at each level, and what it reaches on the part it was chosen on.

    `borrowed` are levels where that part has one class only: there the threshold of the task is used.
    """

    rule: str
    thresholds: dict[str, float]
    recall: float | None = None
    specificity: float | None = None
    borrowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Decision:
    """How a logit becomes a score and a score a call, and on what this was chosen; written as `decision.json`.

    `points[0]` is the operating point of the quoted results; the others are reported beside it. A case at or above a
    threshold is called malignant. `finding_temperature` divides the mean log-odds of a finding's views: their mean
    varies less than one view does, and would say too little.
    """

    points: tuple[Point, ...]
    calibrator: Calibrator
    task: Task
    level_score: LevelScore
    part: str
    cases: int
    positives: int
    split_sha256: str
    finding_temperature: float = 1.0

    @property
    def rule(self) -> str:
        """The rule of the main operating point."""
        return self.points[0].rule

    @property
    def threshold(self) -> float:
        """Its threshold for a case of the task."""
        return self.points[0].thresholds[self.task]

    def of_finding(self, scores: Sequence[float]) -> tuple[float, bool | None]:
        """Join the scores of a finding's views: its score, and whether it is called; None without a threshold for it.

        A network that has seen no findings in validation has none.
        """
        joined = float(mean_odds(np.asarray(scores), self.finding_temperature))
        threshold = self.points[0].thresholds.get("finding")
        return joined, None if threshold is None else joined >= threshold

    def as_json(self) -> dict[str, object]:
        """The plain form, with what most readers look for first."""
        first = {"rule": self.rule, "threshold": self.threshold, "temperature": self.calibrator.temperature}
        return first | asdict(self)

    @staticmethod
    def of_json(values: object) -> "Decision":
        """Read the plain form back; unknown keys are ignored.

        Raises:
            ValueError: It is something else.
        """
        try:
            decision: Decision = TypeAdapter(Decision).validate_python(values)
        except ValidationError as error:
            errors = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
            raise ValueError("; ".join(errors[:3])) from error
        thresholds = [threshold for point in decision.points for threshold in point.thresholds.values()]
        needed = set(levels_of(decision.task))
        needed -= {"finding"} if decision.task == "lesion" else set()  # validation may have had no findings
        complete = all(needed <= set(point.thresholds) for point in decision.points)
        if not decision.points or not complete or not all(0 <= threshold <= 1 + 1e-12 for threshold in thresholds):
            raise ValueError("expected a threshold in 0-1 for every level of every operating point")
        calibrator = decision.calibrator
        has_steps = calibrator.method != "isotonic" or len(calibrator.logits) > 0
        same_length = len(calibrator.logits) == len(calibrator.probabilities)
        temperatures_fit = all(0 < one < np.inf for one in (calibrator.temperature, decision.finding_temperature))
        if not temperatures_fit or not has_steps or not same_length:
            raise ValueError("expected a temperature above 0, and for isotonic as many logits as probabilities")
        return decision


Decisions = Decision | Mapping[int, Decision]  # one, or one for each fold


def half_decision(task: Task) -> Decision:
    """A decision that no data chose: 0.5 at every level."""
    point = Point(HALF, dict.fromkeys(levels_of(task), float(HALF)))
    return Decision((point,), Calibrator(), task, "max", "none", 0, 0, "")


def make_decision(
    validation: pd.DataFrame,
    evaluation: EvaluationSettings,
    *,
    task: Task,
    part: str = "validation",
    split_sha256: str = "",
) -> tuple[Decision, pd.DataFrame]:
    """Calibrate and choose thresholds.

    Args:
        validation: A score table with `logit`; its scores are made here.
        evaluation: The main rule and those that are reported beside it, and how to calibrate and to gather levels.
        task: What a case is.
        part: On what the decision is made, for its readers, as is the split's hash.

    Returns:
        The decision, and the table with calibrated scores.

    Raises:
        ScoreError: The part has one class only.
    """
    labels, logits = validation["label"].to_numpy(int), validation["logit"].to_numpy(float)
    calibrator = fit_calibrator(labels, logits, evaluation.calibration)
    scored = validation.assign(score=calibrator.apply(logits))
    how, positives = evaluation.level_score, int(labels.sum())
    temperature = _finding_temperature(scored, evaluation) if "finding" in levels_of(task, scored)[1:] else 1.0
    levels = {
        level: Cases.of(gather_level(scored, level, task=task, how=how, temperature=temperature))
        for level in levels_of(task, scored)
    }
    rules = dict.fromkeys((evaluation.operating_point, *evaluation.also_report))
    points = tuple(_choose_point(rule, levels, task) for rule in rules)
    return Decision(points, calibrator, task, how, part, len(scored), positives, split_sha256, temperature), scored


def gather(scores: pd.DataFrame, level: str, decisions: Decisions) -> pd.DataFrame:
    """Gather a score table to a level as a decision says, or each fold as its own does; see `gather_level`.

    Raises:
        ScoreError: A row is of a fold that no decision is of.
    """
    decision = one_decision(decisions)
    temperature: float | np.ndarray = decision.finding_temperature
    if not isinstance(decisions, Decision):
        temperature = np.array([decisions[fold].finding_temperature for fold in folds_of(scores, decisions)])
    return gather_level(scores, level, task=decision.task, how=decision.level_score, temperature=temperature)


def folds_of(frame: pd.DataFrame, decisions: Mapping[int, Decision]) -> list[int]:
    """Give the fold of each row.

    Raises:
        ScoreError: A row is of a fold that no decision is of.
    """
    unknown = sorted(set(frame["fold"].astype(int)) - set(decisions)) if "fold" in frame else ["none"]
    if unknown:
        expected, got = ", ".join(map(str, decisions)), ", ".join(map(str, unknown))
        raise ScoreError(f"column fold: expected one of {expected}, got {got}")
    return frame["fold"].astype(int).tolist()


def known_levels(scores: pd.DataFrame, decisions: Decisions) -> list[str]:
    """List the levels of a score table at which every decision has a threshold, its own first."""
    every = [decisions] if isinstance(decisions, Decision) else list(decisions.values())
    levels = levels_of(every[0].task, scores)
    return [level for level in levels if all(level in decision.points[0].thresholds for decision in every)]


def one_decision(decisions: Decisions) -> Decision:
    """The decision, or the first of the folds'."""
    return decisions if isinstance(decisions, Decision) else next(iter(decisions.values()))


def _finding_temperature(scored: pd.DataFrame, evaluation: EvaluationSettings) -> float:
    findings = gather_level(scored, "finding", task="lesion", how=evaluation.level_score)
    labels = findings["label"].to_numpy(int)
    if evaluation.calibration == "none" or len(np.unique(labels)) < 2:
        return 1.0
    return fit_calibrator(labels, log_odds_of(findings["score"].to_numpy()), "temperature").temperature


def _choose_point(rule: str, levels: dict[str, Cases], task: str) -> Point:
    """A rule's threshold at each level; a level where validation has one class only borrows that of the task."""
    own = levels[task]
    threshold = choose_threshold(own.labels, own.scores, rule)
    thresholds, borrowed = {task: threshold}, []
    for name, level in levels.items():
        if len(np.unique(level.labels)) < 2:
            borrowed.append(name)
            thresholds[name] = threshold
        elif name != task:
            thresholds[name] = choose_threshold(level.labels, level.scores, rule)
    measured = measure_at(count_confusion(own.labels, own.scores, threshold))
    values = [measured[name].value for name in ("recall", "specificity")]
    recall, specificity = (None if value is None else float(np.round(value, 6)) for value in values)
    return Point(rule, thresholds, recall, specificity, tuple(borrowed))


def choose_threshold(labels: np.ndarray, scores: np.ndarray, rule: str) -> float:
    """Choose a threshold for scores 0-1, float [n], of labels 0 or 1, [n].

    The rule is `recall>=R` (the highest threshold that reaches R), `specificity>=S` (the lowest that reaches S),
    `youden` (the highest recall + specificity - 1; the lower threshold of equals), or a fixed number.

    Raises:
        ScoreError: The rule needs both classes and one is missing.
    """
    name, _, bound = rule.partition(">=")
    if name not in ("recall", "specificity", "youden"):
        return float(rule)
    if len(np.unique(labels)) < 2:
        got = f"got {len(labels)} cases of one class"
        raise ScoreError(f"operating point {rule}: expected scores of both classes, {got}")
    # Every threshold that changes a call, ascending; at the last nothing is called malignant.
    values = np.unique(scores)
    thresholds = np.append(values, np.nextafter(values[-1], np.inf))
    positive, negative = np.sort(scores[labels == 1]), np.sort(scores[labels == 0])
    recall = 1 - np.searchsorted(positive, thresholds, side="left") / len(positive)
    specificity = np.searchsorted(negative, thresholds, side="left") / len(negative)
    if name == "recall":
        return float(thresholds[np.flatnonzero(recall >= float(bound) - 1e-12)[-1]])
    if name == "specificity":
        return float(thresholds[np.flatnonzero(specificity >= float(bound) - 1e-12)[0]])
    return float(thresholds[np.argmax(np.round(recall + specificity, 12))])


def in_words(score: float, decision: Decision) -> str:
    """Say what a score means at the operating point."""
    threshold = decision.threshold
    digits = 3 if f"{score:.3f}" != f"{threshold:.3f}" or score == threshold else 6
    call, side = ("called", "at or above") if score >= threshold else ("not called", "below")
    chosen = f"chosen for {decision.rule} on {decision.cases} {decision.part} cases"
    return f"{call} malignant: {score:.{digits}f} is {side} the threshold {threshold:.{digits}f} ({chosen})"
