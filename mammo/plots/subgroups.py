"""Draws the forest plot of subgroups: AUC and recall side by side, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mammo.evaluation.metrics import Metric
from mammo.evaluation.subgroups import FEW_POSITIVES, WITHOUT_CALLBACK, Subgroup
from mammo.plots.style import BLUE, DASH, GRAY, LIGHT, ORANGE, literal, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_GROUPS = 60  # more make a chart that fits on no page; the table lists them all
ROW_IN = 0.235
LABEL_LENGTH = 26
SHORTER = {f"without {WITHOUT_CALLBACK}": "no benign without callback"}
FEW = f"* fewer than {FEW_POSITIVES} malignant cases"
Row = tuple[str, Subgroup | None]  # a label, and its group; none for the name of a column


def draw_subgroups(groups: Sequence[Subgroup], *, auc: Metric, recall: Metric) -> Figure:
    """Draw at least one group, those of one column in a row; `auc` and `recall` are those of all cases.

    Groups with few positives are hollow and starred.
    """
    from matplotlib.figure import Figure

    rows = _rows(groups[:MOST_GROUPS])
    figure = Figure(figsize=(6.6, 1.15 + ROW_IN * len(rows)), layout="constrained")
    left, right, counts = figure.subplots(1, 3, sharey=True, width_ratios=[1, 1, 0.5])
    left.axvline(0.5, color=LIGHT, linewidth=1, linestyle=":", label="chance (AUC)")
    _draw_panel(left, rows, "auc", auc, {"color": BLUE, "marker": "o"})
    _draw_panel(right, rows, "recall", recall, {"color": ORANGE, "marker": "s"})
    left.set_title("AUC", fontsize=10)
    right.set_title("recall (sensitivity)", fontsize=10)
    left.set_yticks(range(len(rows)), [literal(label) for label, _ in rows], fontsize=9)
    left.tick_params(axis="y", length=0)
    counts.axis("off")
    counts.set(xlim=(0, 1))
    counts.set_title("n / malignant", fontsize=9)
    for y, (text, (_, group)) in enumerate(zip(left.get_yticklabels(), rows, strict=True)):
        if group is None:
            text.set_fontweight("bold")
        else:
            counts.text(0.5, y, f"{group.n:,} / {group.n_positive:,}", fontsize=9, ha="center", va="center")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _rows(groups: Sequence[Subgroup]) -> list[Row]:
    rows: list[Row] = []
    for number, group in enumerate(groups):
        if number == 0 or group.column != groups[number - 1].column:
            rows.append((group.column.replace("_", " "), None))
        label = SHORTER.get(group.value, group.value)
        if len(label) > LABEL_LENGTH:
            label = label[: LABEL_LENGTH - 1] + "…"
        rows.append((label + (" *" if group.few else ""), group))
    return rows


def _draw_panel(axes: Axes, rows: Sequence[Row], name: str, whole: Metric, style: dict[str, Any]) -> None:
    plain(axes)
    axes.grid(False, axis="y")
    axes.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6))
    if whole.value is not None:
        axes.axvline(whole.value, color=GRAY, linewidth=1, linestyle="--", label="all cases")
    axes.plot([], [], label="value and 95 % interval", **style)
    axes.plot([], [], markerfacecolor="white", label=FEW, **style)
    for y, (_, group) in enumerate(rows):
        if group:
            _draw_metric(axes, y, group.metrics[name], style | ({"markerfacecolor": "white"} if group.few else {}))


def _draw_metric(axes: Axes, y: int, metric: Metric, style: dict[str, Any]) -> None:
    note: dict[str, Any] = {"fontsize": 8, "color": GRAY, "va": "center", "style": "italic"}
    if metric.value is None:
        axes.text(0.0, y, f"{DASH} {metric.undefined}", **note)
        return
    if metric.low is not None and metric.high is not None:
        axes.plot([metric.low, metric.high], [y, y], color=style["color"], linewidth=1.4)
    elif metric.value < 0.55:
        axes.text(metric.value + 0.06, y, "no interval", ha="left", **note)
    else:
        axes.text(metric.value - 0.06, y, "no interval", ha="right", **note)
    axes.plot(metric.value, y, markersize=6, **style)
