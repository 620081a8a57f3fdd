"""Validation logits and rules in, one decision out: the map to probabilities and the thresholds of every rule and level."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammo.evaluation.calibration import fit_calibrator
from mammo.evaluation.levels import gather_level, levels_of
from mammo.evaluation.metrics import count_confusion, measure_at
from mammo.evaluation.operating_point import Decision, Point, choose_threshold
from mammo.settings.types import CalibrationMethod, LevelScore, Task


def make_decision(
    validation: pd.DataFrame,
    *,
    rules: Sequence[str],
    task: Task,
    level_score: LevelScore = "max",
    calibration: CalibrationMethod = "temperature",
    part: str = "validation",
    split_sha256: str = "",
) -> tuple[Decision, pd.DataFrame]:
    """Calibrate and choose thresholds.

    Args:
        validation: A score table with `logit`; its scores are made here.
        rules: The main rule, then those that are reported beside it.
        task: What a case is.
        level_score: How coarser levels are gathered.
        calibration: `temperature`, `isotonic` or `none`.
        part: What the decision is made on, for its readers.
        split_sha256: The split's hash.

    Returns:
        The decision, and the table with calibrated scores.

    Raises:
        ScoreError: The part has one class only.
    """
    labels = validation["label"].to_numpy(int)
    calibrator = fit_calibrator(labels, validation["logit"].to_numpy(float), calibration)
    scored = validation.assign(score=calibrator.apply(validation["logit"].to_numpy(float)))
    levels = {level: gather_level(scored, level, task=task, how=level_score) for level in levels_of(task)}
    points = tuple(_choose(rule, levels, task) for rule in dict.fromkeys(rules))
    return Decision(points, calibrator, task, level_score, part, len(scored), int(labels.sum()), split_sha256), scored


def _choose(rule: str, levels: dict[str, pd.DataFrame], task: str) -> Point:
    """A rule's threshold at each level; a level where validation has one class only takes that of the task's own."""
    own = levels[task]
    first = choose_threshold(own["label"].to_numpy(int), own["score"].to_numpy(float), rule)
    borrowed = tuple(name for name, level in levels.items() if level["label"].nunique() < 2)
    thresholds = {
        name: first
        if name in (task, *borrowed)
        else choose_threshold(level["label"].to_numpy(int), level["score"].to_numpy(float), rule)
        for name, level in levels.items()
    }
    reached = measure_at(count_confusion(own["label"].to_numpy(int), own["score"].to_numpy(float), first))
    return Point(rule, thresholds, _rounded(reached["recall"].value), _rounded(reached["specificity"].value), borrowed)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(np.round(value, 6))
