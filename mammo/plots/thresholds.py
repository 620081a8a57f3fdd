"""Draws what depends on a threshold: confusion matrix, scores of both classes, metrics over the threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mammo.evaluation.judge import PointResult
from mammo.evaluation.metrics import Confusion
from mammo.plots.style import BLUE, DASH, GRAY, GREEN, MARKERS, ORANGE, rule_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = np.linspace(0, 1, 26)
CONFUSION_IN = (3.2, 2.9)
SWEPT = (
    ("recall", "recall (sensitivity)", BLUE, "-"),
    ("specificity", "specificity", ORANGE, "--"),
    ("precision", "PPV (precision)", GREEN, "-."),
)


def draw_confusion(axes: Axes, confusion: Confusion, *, title: str = "") -> None:
    """Draw the confusion matrix: counts, and their share of the true class as number and shade."""
    benign = (confusion.true_negative, confusion.false_positive)
    malignant = (confusion.false_negative, confusion.true_positive)
    centred: dict[str, Any] = {"ha": "center", "va": "center"}
    for row, counts in enumerate((benign, malignant)):
        for column, count in enumerate(counts):
            share = count / sum(counts) if sum(counts) else 0.0
            sides = [column - 0.5, column + 0.5]
            axes.fill_between(sides, row - 0.5, row + 0.5, color=BLUE, alpha=0.5 * share, linewidth=0)
            axes.text(column, row - 0.06, f"{count:,}", fontsize=15, **centred)
            axes.text(column, row + 0.25, f"{100 * share:.0f} %" if sum(counts) else DASH, fontsize=9, **centred)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.set(xlabel="called", ylabel="truth", xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
    axes.set_xticks([0, 1], ["benign", "malignant"])
    axes.set_yticks([0, 1], ["benign", "malignant"], rotation=90, va="center")
    axes.set_title(title, fontsize=10)


def draw_scores(
    axes: Axes, labels: np.ndarray, scores: np.ndarray, points: Sequence[PointResult], by_fold: Sequence[float] = ()
) -> None:
    """Draw how the scores of each class are distributed, in shares of the class, with the thresholds.

    Args:
        axes: The frame.
        labels: int [n], 1 is malignant.
        scores: float [n], 0-1.
        points: The operating points, the main one first.
        by_fold: The main threshold of each fold, where each has its own.
    """
    for label, name, colour in ((0, "benign", "#9ecae8"), (1, "malignant", ORANGE)):
        of_class = scores[labels == label]
        if len(of_class):
            shares = np.histogram(of_class, BINS)[0] * 100 / len(of_class)
            name = f"{name} (n = {len(of_class):,})"
            axes.stairs(shares, BINS, fill=label == 0, color=colour, linewidth=2, label=name)
    _mark_thresholds(axes, points, by_fold)
    axes.set(xlabel="score (probability of malignancy)", ylabel="share of the class (%)", xlim=(0, 1))


def draw_sweep(
    axes: Axes, rows: Sequence[PointResult], points: Sequence[PointResult], by_fold: Sequence[float] = ()
) -> None:
    """Draw recall, specificity and PPV over the threshold, with the bands of their intervals.

    Args:
        axes: The frame.
        rows: The metrics at many thresholds.
        points: The operating points, the main one first.
        by_fold: The main threshold of each fold, where each has its own.
    """
    threshold = np.array([row.threshold for row in rows], float)
    for name, label, colour, style in SWEPT:
        metrics = [row.metrics[name] for row in rows]
        value, low, high = np.array([(one.value, one.low, one.high) for one in metrics], float).T
        if np.isfinite(value).any():
            axes.plot(threshold, value, color=colour, linestyle=style, linewidth=1.6, label=label)
            axes.fill_between(threshold, low, high, color=colour, alpha=0.15, linewidth=0)
    _mark_thresholds(axes, points, by_fold)
    axes.set(xlabel="threshold", ylabel="value, band: 95 % interval", xlim=(0, 1), ylim=(0, 1.02))


def _mark_thresholds(axes: Axes, points: Sequence[PointResult], by_fold: Sequence[float]) -> None:
    """Mark each threshold by a line and by its point's marker in the ROC plot."""
    style: dict[str, Any] = {"color": "black", "markersize": 6, "markeredgecolor": "white", "linestyle": "none"}
    for number, point in enumerate(points):
        main, style["marker"] = number == 0, MARKERS[number % len(MARKERS)]
        own = by_fold if main and point.threshold is None else [point.threshold]
        for threshold in own:
            if threshold is not None and 0 <= threshold <= 1:
                axes.axvline(threshold, color="black" if main else GRAY, linewidth=1.2 if main else 0.7, linestyle=":")
                axes.plot(threshold, 0, transform=axes.get_xaxis_transform(), clip_on=False, zorder=5, **style)
        if point.threshold is not None or main:
            label = rule_name(point.rule) + (", own of each fold" if point.threshold is None else "")
            axes.plot([], [], label=label, **style)
