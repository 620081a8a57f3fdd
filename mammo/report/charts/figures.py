"""A report's source in, its charts out, as matplotlib figures: the page and the training log draw from one table.

A chart whose data is not there is None, and `why_missing` says why.
"""

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from mammo.evaluation.calibration import ReliabilityBin
from mammo.evaluation.judge import CalibrationSide, PointResult
from mammo.report.charts.groups import draw_subgroups
from mammo.report.charts.learning import draw_learning, draw_learning_gap
from mammo.report.charts.style import (
    BLUE,
    GRAY,
    GREEN,
    LIGHT,
    MARKERS,
    ORANGE,
    add_legend,
    labels_and_scores,
    mark_thresholds,
    open_axes,
    rule_name,
    thin,
)
from mammo.report.source import ReportSource

BINS = np.linspace(0, 1, 26)
Z_95 = 1.959963984540054
Chart = Callable[[ReportSource], Figure | None]


def draw_roc(source: ReportSource) -> Figure | None:
    """The ROC curve, its operating points by name; of several folds each one's curve, thin, under the pooled one."""
    labels, scores = labels_and_scores(source)
    if not _both_classes(labels):
        return None
    figure, axes = _unit_square("1 - specificity", "recall (sensitivity)")
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=1, linestyle="--", label="chance")
    for number, (fold_labels, fold_scores) in enumerate(_folds(source)):
        axes.plot(
            *thin(*roc_curve(fold_labels, fold_scores)[:2]),
            color=GRAY,
            linewidth=0.7,
            alpha=0.7,
            label="" if number else "each fold",
        )
    axes.plot(
        *thin(*roc_curve(labels, scores)[:2]),
        color=BLUE,
        linewidth=1.8,
        label="pooled" if source.folds else "this system",
    )
    own = source.judgement.own
    for number, point in enumerate(own.points):
        recall, specificity = point.metrics["recall"].value, point.metrics["specificity"].value
        if recall is not None and specificity is not None:
            marker = MARKERS[number % len(MARKERS)]
            colour = ORANGE if number == 0 else "black"
            size = 8 if number == 0 else 6
            axes.plot(
                1 - specificity,
                recall,
                marker,
                color=colour,
                markersize=size,
                markeredgecolor="white",
                label=rule_name(point.rule),
                zorder=5,
            )
    axes.set_title(("pooled AUC " if source.folds else "AUC ") + own.ranking["auc"].with_bounds(), fontsize=10)
    add_legend(figure, axes)
    return figure


def draw_precision_recall(source: ReportSource) -> Figure | None:
    """PPV over recall, above the share of malignant cases, which is what chance reaches."""
    labels, scores = labels_and_scores(source)
    if not _both_classes(labels):
        return None
    figure, axes = _unit_square("recall (sensitivity)", "PPV (precision)")
    axes.axhline(labels.mean(), color=LIGHT, linewidth=1, linestyle="--", label="share of malignant cases")
    for number, (fold_labels, fold_scores) in enumerate(_folds(source)):
        precision, recall, _ = precision_recall_curve(fold_labels, fold_scores)
        axes.plot(*thin(recall, precision), color=GRAY, linewidth=0.7, alpha=0.7, label="" if number else "each fold")
    precision, recall, _ = precision_recall_curve(labels, scores)
    axes.plot(*thin(recall, precision), color=BLUE, linewidth=1.8, label="pooled" if source.folds else "this system")
    for number, point in enumerate(source.judgement.own.points):
        hit, ppv = point.metrics["recall"].value, point.metrics["precision"].value
        if hit is not None and ppv is not None:
            colour = ORANGE if number == 0 else "black"
            axes.plot(
                hit,
                ppv,
                MARKERS[number % len(MARKERS)],
                color=colour,
                markersize=8 if number == 0 else 6,
                markeredgecolor="white",
                zorder=5,
            )
    axes.set_title("average precision " + source.judgement.own.ranking["average_precision"].with_bounds(), fontsize=10)
    add_legend(figure, axes)
    return figure


def draw_reliability_before(source: ReportSource) -> Figure | None:
    """The reliability diagram of the network's own logits."""
    return _draw_reliability(source.judgement.before, "before calibration", GRAY) if source.judgement.before else None


def draw_reliability_after(source: ReportSource) -> Figure | None:
    """The reliability diagram of the scores that were judged."""
    title = "after calibration" if source.judgement.before else "scores as given"
    return _draw_reliability(source.judgement.after, title, BLUE)


def wilson(hits: np.ndarray, of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's 95 % interval of a share (Wilson 1927, JASA 22:209), for counts of at least one."""
    share, square = hits / of, Z_95**2
    centre = (share + square / (2 * of)) / (1 + square / of)
    half = Z_95 / (1 + square / of) * np.sqrt(share * (1 - share) / of + square / (4 * of**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def _draw_reliability(side: CalibrationSide, title: str, colour: str) -> Figure:
    figure, axes = _unit_square("mean score of the bin", "share malignant")
    axes.plot([0, 1], [0, 1], color=LIGHT, linewidth=1, linestyle="--", label="perfect")
    counts, hits, x = _columns(side.bins)
    low, high = wilson(hits, counts)
    axes.vlines(x, low, high, color=colour, linewidth=1.2, label="95 % interval (Wilson)")
    sizes = 12 + 140 * counts / counts.max()
    axes.scatter(
        x,
        hits / counts,
        s=sizes,
        color=colour,
        edgecolor="white",
        linewidth=0.7,
        zorder=4,
        label="a bin; larger: more cases",
    )
    axes.set_title(title, fontsize=10)
    add_legend(figure, axes)
    return figure


def _columns(bins: tuple[ReliabilityBin, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows = np.array([(one.cases, one.malignant, one.mean_score) for one in bins], float)
    return rows[:, 0], rows[:, 1], rows[:, 2]


def draw_scores(source: ReportSource) -> Figure:
    """How the scores of either class lie, in shares of the class, with the thresholds."""
    labels, scores = labels_and_scores(source)
    figure, axes = open_axes()
    for label, name, colour in ((0, "benign", "#9ecae8"), (1, "malignant", ORANGE)):
        of_class = scores[labels == label]
        if len(of_class):
            shares = np.histogram(of_class, BINS)[0] * 100 / len(of_class)
            axes.stairs(
                shares, BINS, fill=label == 0, color=colour, linewidth=2, label=f"{name} (n = {len(of_class):,})"
            )
    mark_thresholds(axes, source.judgement)
    axes.set(xlabel="score (probability of malignancy)", ylabel="share of the class (%)", xlim=(0, 1))
    add_legend(figure, axes)
    return figure


def draw_sweep(source: ReportSource) -> Figure | None:
    """Recall, specificity and PPV over the threshold, with the bands of their intervals."""
    judgement = source.judgement
    rows = [row for row in judgement.sweep if row.threshold is not None]
    if not rows:
        return None
    figure, axes = open_axes()
    threshold = np.array([row.threshold for row in rows], float)
    for name, words, colour, style in (
        ("recall", "recall (sensitivity)", BLUE, "-"),
        ("specificity", "specificity", ORANGE, "--"),
        ("precision", "PPV (precision)", GREEN, "-."),
    ):
        value, low, high = (_of(rows, name, part) for part in ("value", "low", "high"))
        if np.isfinite(value).any():
            axes.plot(threshold, value, color=colour, linestyle=style, linewidth=1.6, label=words)
            axes.fill_between(threshold, low, high, color=colour, alpha=0.15, linewidth=0)
    mark_thresholds(axes, judgement)
    axes.set(xlabel="threshold", ylabel="value, band: 95 % interval", xlim=(0, 1), ylim=(0, 1.02))
    add_legend(figure, axes)
    return figure


def _of(rows: list[PointResult], metric: str, part: str) -> np.ndarray:
    values = [getattr(row.metrics[metric], part) for row in rows]
    return np.array([np.nan if value is None else value for value in values])


def draw_confusion_main(source: ReportSource) -> Figure:
    """The counts at the main operating point."""
    return _draw_confusion(source.judgement.own.main)


def draw_confusion_half(source: ReportSource) -> Figure | None:
    """The counts at 0.5, where that is another point."""
    own = source.judgement.own
    return _draw_confusion(own.half) if own.half is not own.main else None


def _draw_confusion(point: PointResult) -> Figure:
    figure, axes = open_axes(3.2, 2.9)
    at = point.confusion
    for row, counts in enumerate(((at.true_negative, at.false_positive), (at.false_negative, at.true_positive))):
        for column, count in enumerate(counts):
            share = count / sum(counts) if sum(counts) else 0.0
            axes.fill_between(
                [column - 0.5, column + 0.5], row - 0.5, row + 0.5, color=BLUE, alpha=0.5 * share, linewidth=0
            )
            axes.text(column, row - 0.06, f"{count:,}", ha="center", va="center", fontsize=15)
            axes.text(
                column, row + 0.25, f"{100 * share:.0f} %" if sum(counts) else "–", ha="center", va="center", fontsize=9
            )
    axes.grid(False)
    axes.tick_params(length=0)
    axes.set(xlabel="called", ylabel="truth", xticks=[0, 1], yticks=[0, 1], xlim=(-0.5, 1.5), ylim=(1.5, -0.5))
    axes.set_xticklabels(["benign", "malignant"])
    axes.set_yticklabels(["benign", "malignant"], rotation=90, va="center")
    chosen = rule_name(point.rule)
    if point.threshold is None:
        chosen += ", own of each fold"
    elif not chosen.startswith("threshold"):
        chosen += f", threshold {point.threshold:.3f}"
    axes.set_title(chosen, fontsize=10)
    return figure


def _unit_square(x: str, y: str) -> tuple[Figure, Axes]:
    figure, axes = open_axes(4.3, 4.6)
    axes.set(xlabel=x, ylabel=y, xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure, axes


def _both_classes(labels: np.ndarray) -> bool:
    return len(np.unique(labels)) > 1


def _folds(source: ReportSource) -> list[tuple[np.ndarray, np.ndarray]]:
    """Labels and scores of each fold that has both classes; nothing where there is one only."""
    if not source.folds or "fold" not in source.scores:
        return []
    groups = [
        (one["label"].to_numpy(int), one["score"].to_numpy(float))
        for _, one in source.scores.groupby("fold", sort=True)
    ]
    return [group for group in groups if _both_classes(group[0])]


CHARTS: dict[str, Chart] = {
    "roc": draw_roc,
    "precision_recall": draw_precision_recall,
    "confusion_main": draw_confusion_main,
    "confusion_half": draw_confusion_half,
    "sweep": draw_sweep,
    "reliability_before": draw_reliability_before,
    "reliability_after": draw_reliability_after,
    "scores": draw_scores,
    "subgroups": draw_subgroups,
    "learning_auc": lambda source: draw_learning(source, "auc"),
    "learning_gap": draw_learning_gap,
    "learning_loss": lambda source: draw_learning(source, "loss"),
    "learning_recall": lambda source: draw_learning(source, "recall"),
}


def why_missing(name: str, source: ReportSource) -> str:
    """Why a chart is None; empty where nothing is amiss."""
    if name.startswith("learning"):
        none = source.log is None and not source.fold_logs
        return "no training log belongs to these scores" if none else "the training log does not hold it"
    if name in ("roc", "precision_recall"):
        return source.judgement.own.ranking["auc"].undefined or "one class only"
    return {
        "subgroups": "the score table has no column to group by, or the same value everywhere",
        "sweep": "there is no threshold to sweep",
    }.get(name, "")
