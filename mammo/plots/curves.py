"""Draws scores and what is measured on them: curves, confusion matrix, and metrics over the threshold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mammo.evaluation.calibration import ReliabilityBin
from mammo.evaluation.human_reader import ReaderLevel
from mammo.evaluation.judge import PointResult
from mammo.evaluation.metrics import Confusion, Metric, count_confusion, measure_at, measure_ranking
from mammo.plots.style import BLUE, DASH, GRAY, GREEN, LIGHT, MARKERS, ORANGE, as_figure, rule_name, thin

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Z_95 = 1.959963984540054
SYSTEM = {"color": BLUE, "linewidth": 1.8}
FOLD = {"color": GRAY, "linewidth": 0.7, "alpha": 0.7}
SQUARE_IN, CONFUSION_IN = (4.3, 4.9), (3.2, 2.9)
BINS = np.linspace(0, 1, 26)
SWEPT = (
    ("recall", "recall (sensitivity)", BLUE, "-"),
    ("specificity", "specificity", ORANGE, "--"),
    ("precision", "PPV (precision)", GREEN, "-."),
)


@dataclass(frozen=True)
class Curve:
    """Cases of one system or fold: labels int [n] (1 is malignant), scores float [n] in 0-1; and its line's style."""

    labels: np.ndarray
    scores: np.ndarray
    label: str = "this system"
    style: Mapping[str, Any] = field(default_factory=lambda: SYSTEM)


def draw_roc(
    axes: Axes,
    curves: Sequence[Curve],
    points: Sequence[PointResult] = (),
    *,
    title: str = "",
    reader: ReaderLevel | None = None,
) -> None:
    """Draw ROC curves, the operating points by name, and a human reader's curve with its calls in circles.

    A curve of one class only is left out.
    """
    from sklearn.metrics import roc_curve

    _unit_square(axes, "1 - specificity", "recall (sensitivity)", title)
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=1, linestyle="--", label="chance")
    _draw_curves(axes, curves, lambda labels, scores: roc_curve(labels, scores)[:2])
    if reader and reader.curve:
        _draw_reader(axes, reader)
    _mark_points(axes, points, "specificity", "recall")


def _draw_reader(axes: Axes, reader: ReaderLevel) -> None:
    """Draw straight lines through the points of the BI-RADS categories; those that are quoted have their number."""
    axes.plot(*np.array(reader.curve).T, color=GREEN, linewidth=1.4, linestyle="--", label="reader (BI-RADS)")
    circle: dict[str, Any] = {"markersize": 11, "markeredgecolor": GREEN, "markerfacecolor": "white", "zorder": 6}
    for number, point in enumerate(reader.points):
        x, y = 1 - (point.specificity.value or 0.0), point.recall.value or 0.0
        axes.plot(x, y, "o", color=GREEN, label="" if number else "BI-RADS ≥ n", **circle)
        axes.text(x, y, str(point.category), color=GREEN, fontsize=9, ha="center", va="center_baseline", zorder=7)


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
    _mark_points(axes, points, "recall", "precision")


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


def _mark_points(axes: Axes, points: Sequence[PointResult], x_name: str, y_name: str) -> None:
    """Mark the operating points by two of their metrics; the first, the main one, is larger and in colour."""
    style: dict[str, Any] = {"markeredgecolor": "white", "zorder": 5}
    for number, point in enumerate(points):
        x, y = point.metrics[x_name].value, point.metrics[y_name].value
        if x is None or y is None:
            continue
        x = 1 - x if x_name == "specificity" else x
        style |= {"color": "black", "markersize": 6} if number else {"color": ORANGE, "markersize": 8}
        axes.plot(x, y, MARKERS[number % len(MARKERS)], label=rule_name(point.rule), **style)


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
    """Draw recall, specificity and PPV of `rows` over their thresholds, with the bands of their intervals.

    The operating points and the thresholds of folds are those of `draw_scores`.
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


def draw_epoch(labels: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, Figure]:
    """Draw ROC and precision-recall curve and confusion matrix, by name.

    Args:
        labels: int [n], 1 is malignant.
        scores: float [n], 0-1.
        threshold: Of the operating point.
    """
    confusion = count_confusion(labels, scores, threshold)
    points = [PointResult(f"{threshold:.3f}", threshold, measure_at(confusion), confusion)]
    curves = [Curve(labels, scores, "validation")]
    ranking = measure_ranking(labels, scores)
    roc = _title("AUC", ranking["auc"])
    precision_recall = _title("average precision", ranking["average_precision"])
    return {
        "roc": as_figure(draw_roc, curves, points, title=roc, size_in=SQUARE_IN),
        "precision_recall": as_figure(draw_precision_recall, curves, points, title=precision_recall, size_in=SQUARE_IN),
        "confusion": as_figure(draw_confusion, confusion, title=f"threshold {threshold:.3f}", size_in=CONFUSION_IN),
    }


def _title(name: str, metric: Metric) -> str:
    return f"{name} undefined: {metric.undefined}" if metric.undefined else f"{name} {metric}"
