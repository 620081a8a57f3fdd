"""What the charts share: colours that colour-blind readers and gray print tell apart, frames, markers, thinned curves."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo.evaluation.judge import Judgement, PointResult
from mammo.evaluation.operating_point import Decision
from mammo.report.source import ReportSource

# Okabe & Ito's palette; each is also given its own line style or marker.
BLUE, ORANGE, GREEN, GRAY, LIGHT = "#0072B2", "#D55E00", "#009E73", "#5f5f5f", "#bdbdbd"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MOST_POINTS = 500
DASH = "–"


def open_axes(width_in: float = 4.3, height_in: float = 3.7) -> tuple[Figure, Axes]:
    """An empty frame with light grid lines."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    axes = figure.subplots()
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """Take away what is no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def add_legend(figure: Figure, axes: Axes, columns: int = 2) -> None:
    """The legend below the frame, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)


def rule_name(rule: str) -> str:
    """A rule as people write it: `recall ≥ 0.90`, `Youden`, `threshold 0.5`."""
    name, _, bound = rule.partition(">=")
    if bound:
        return f"{name} ≥ {bound}"
    return "Youden" if rule == "youden" else f"threshold {rule}"


def literal(text: str) -> str:
    """Text from outside for matplotlib, which would take what stands between two dollar signs for mathematics."""
    return text.replace("$", r"\$")


def thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep at most `MOST_POINTS` points of a curve, evenly along its length; the ends stay."""
    if len(x) <= MOST_POINTS:
        return x, y
    along = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    kept = np.unique(np.searchsorted(along, np.linspace(0, along[-1], MOST_POINTS)).clip(0, len(x) - 1))
    kept[0], kept[-1] = 0, len(x) - 1
    return x[kept], y[kept]


def labels_and_scores(source: ReportSource) -> tuple[np.ndarray, np.ndarray]:
    """The judged cases: int [n] and float64 [n]."""
    return source.scores["label"].to_numpy(int), source.scores["score"].to_numpy(float)


def mark_thresholds(axes: Axes, judgement: Judgement) -> None:
    """Mark each operating point's threshold by a line and its marker of the ROC chart; of folds, each one's main threshold."""
    for number, point in enumerate(judgement.own.points):
        main = number == 0
        colour, width = ("black", 1.2) if main else (GRAY, 0.7)
        for threshold in _thresholds(judgement, point, main):
            axes.axvline(threshold, color=colour, linewidth=width, linestyle=":")
            axes.plot(
                threshold, 0, MARKERS[number % len(MARKERS)], transform=axes.get_xaxis_transform(), clip_on=False, zorder=5,
                color="black", markersize=6, markeredgecolor="white",
            )  # fmt: skip
        label = rule_name(point.rule) + (", own of each fold" if point.threshold is None else "")
        if point.threshold is not None or main:
            axes.plot(
                [],
                [],
                MARKERS[number % len(MARKERS)],
                color="black",
                markersize=6,
                markeredgecolor="white",
                label=label,
            )


def _thresholds(judgement: Judgement, point: PointResult, main: bool) -> list[float]:
    if point.threshold is not None:
        return [point.threshold] if 0 <= point.threshold <= 1 else []
    if not main or isinstance(judgement.decisions, Decision):
        return []
    return [decision.threshold for decision in judgement.decisions.values()]
