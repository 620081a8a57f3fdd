"""Draws ROC, precision-recall and calibration curves, for training, report and comparison alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mammo.evaluation.calibration import ReliabilityBin
from mammo.evaluation.judge import PointResult
from mammo.plots.style import BLUE, GRAY, LIGHT, MARKERS, ORANGE, rule_name, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Z_95 = 1.959963984540054
SYSTEM = {"color": BLUE, "linewidth": 1.8}
FOLD = {"color": GRAY, "linewidth": 0.7, "alpha": 0.7}
SQUARE_IN = (4.3, 4.9)


@dataclass(frozen=True)
class Curve:
    """Cases of one system or fold: labels int [n] (1 is malignant), scores float [n] in 0-1; and its line's style."""

    labels: np.ndarray
    scores: np.ndarray
    label: str = "this system"
    style: Mapping[str, Any] = field(default_factory=lambda: SYSTEM)


def pooled_curves(
    labels: np.ndarray, scores: np.ndarray, folds: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[Curve]:
    """Curves of a cross-validation: a thin one of each fold, and the pooled one over them.

    Args:
        labels: int [n], 1 is malignant.
        scores: float [n], 0-1.
        folds: Labels and scores of each fold.
    """
    single = [Curve(*fold, label="" if number else "each fold", style=FOLD) for number, fold in enumerate(folds)]
    return [*single, Curve(labels, scores, "pooled")]


def draw_roc(axes: Axes, curves: Sequence[Curve], points: Sequence[PointResult] = (), *, title: str = "") -> None:
    """Draw ROC curves, and the operating points by name. A curve of one class only is left out."""
    from sklearn.metrics import roc_curve

    _unit_square(axes, "1 - specificity", "recall (sensitivity)", title)
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=1, linestyle="--", label="chance")
    _draw_curves(axes, curves, lambda labels, scores: roc_curve(labels, scores)[:2])
    for number, point in enumerate(points):
        recall, specificity = point.metrics["recall"].value, point.metrics["specificity"].value
        if recall is not None and specificity is not None:
            _mark(axes, number, point, 1 - specificity, recall)


def draw_precision_recall(
    axes: Axes, curves: Sequence[Curve], points: Sequence[PointResult] = (), *, title: str = ""
) -> None:
    """Draw PPV over recall, above the malignant share of the last curve's cases, which chance reaches."""
    from sklearn.metrics import precision_recall_curve

    def recall_and_precision(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        precision, recall, _ = precision_recall_curve(labels, scores)
        return recall, precision

    _unit_square(axes, "recall (sensitivity)", "PPV (precision)", title)
    share = curves[-1].labels.mean()
    axes.axhline(share, color=LIGHT, linewidth=1, linestyle="--", label="share of malignant cases")
    _draw_curves(axes, curves, recall_and_precision)
    for number, point in enumerate(points):
        recall, precision = point.metrics["recall"].value, point.metrics["precision"].value
        if recall is not None and precision is not None:
            _mark(axes, number, point, recall, precision)


def draw_calibration(
    axes: Axes, bins: Sequence[ReliabilityBin], *, title: str = "", color: str = BLUE, linestyle: str = "none"
) -> None:
    """Draw the reliability diagram of one system; its bins are joined where a line style is given."""
    _unit_square(axes, "mean score of the bin", "share malignant", title)
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=1, linestyle="--", label="perfect")
    score = np.array([one.mean_score for one in bins])
    cases = np.array([one.cases for one in bins], float)
    malignant = np.array([one.malignant for one in bins], float)
    low, high = wilson(malignant, cases)
    axes.plot(score, malignant / cases, color=color, linestyle=linestyle)
    axes.vlines(score, low, high, color=color, linewidth=1.2, label="95 % interval (Wilson)")
    style: dict[str, Any] = {"color": color, "edgecolor": "white", "linewidth": 0.7, "zorder": 4}
    sizes = 12 + 140 * cases / cases.max()
    axes.scatter(score, malignant / cases, s=sizes, label="a bin; larger: more cases", **style)


def wilson(hits: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a share (Wilson 1927, JASA 22:209).

    Args:
        hits: float [n], counts.
        of: float [n], the totals, at least 1.

    Returns:
        Lower and upper ends, float [n] each, 0-1.
    """
    share, square = hits / of, Z_95**2
    centre = (share + square / (2 * of)) / (1 + square / of)
    half = Z_95 / (1 + square / of) * np.sqrt(share * (1 - share) / of + square / (4 * of**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _unit_square(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_title(title, fontsize=10)


def _draw_curves(
    axes: Axes, curves: Sequence[Curve], line_of: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> None:
    for curve in curves:
        none = np.empty(0), np.empty(0)
        x, y = line_of(curve.labels, curve.scores) if len(np.unique(curve.labels)) > 1 else none
        axes.plot(*thin(x, y), label=curve.label, **curve.style)


def _mark(axes: Axes, number: int, point: PointResult, x: float, y: float) -> None:
    """Mark an operating point; the first, the main one, is larger and in colour."""
    style: dict[str, Any] = {"color": "black", "markersize": 6, "markeredgecolor": "white", "zorder": 5}
    if number == 0:
        style |= {"color": ORANGE, "markersize": 8}
    axes.plot(x, y, MARKERS[number % len(MARKERS)], label=rule_name(point.rule), **style)
