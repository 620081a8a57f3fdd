"""A report's subgroups in, their forest plot out: AUC and recall side by side, each with its interval."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mammo.evaluation.metrics import Metric
from mammo.evaluation.subgroups import FEW_POSITIVES, WITHOUT_CALLBACK, Subgroup
from mammo.report.charts.style import BLUE, DASH, GRAY, LIGHT, ORANGE, literal, plain
from mammo.report.source import ReportSource

MOST_GROUPS = 60  # more make a chart that no page holds; the table lists them all
ROW_IN = 0.235
LABEL_LENGTH = 26
SHORTER = {f"without {WITHOUT_CALLBACK}": "no benign without callback"}
PANELS = (("auc", "AUC", BLUE, "o"), ("recall", "recall (sensitivity)", ORANGE, "s"))


@dataclass(frozen=True)
class Row:
    """A row of the plot: a column's name, or one of its groups."""

    label: str
    group: Subgroup | None = None


def draw_subgroups(source: ReportSource) -> Figure | None:
    """Draw them; None where there are none. Groups with few positives are hollow and starred."""
    rows = _rows(source.judgement.subgroups[:MOST_GROUPS])
    if not rows:
        return None
    figure = Figure(figsize=(6.6, 1.15 + ROW_IN * len(rows)), layout="constrained")
    left, right, counts = figure.subplots(1, 3, sharey=True, width_ratios=[1, 1, 0.5])
    own = source.judgement.own
    for axes, (metric, title, colour, marker) in zip((left, right), PANELS, strict=True):
        whole = own.ranking["auc"] if metric == "auc" else own.main.metrics["recall"]
        _draw_panel(axes, rows, metric, whole, colour=colour, marker=marker)
        axes.set_title(title, fontsize=10)
    _label_rows(left, rows)
    _write_counts(counts, rows)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def _rows(groups: tuple[Subgroup, ...]) -> list[Row]:
    rows: list[Row] = []
    column = ""
    for group in groups:
        if group.column != column:
            column = group.column
            rows.append(Row(column.replace("_", " ")))
        rows.append(Row(_short(SHORTER.get(group.value, group.value)), group))
    return rows


def _short(value: str) -> str:
    return value if len(value) <= LABEL_LENGTH else value[: LABEL_LENGTH - 1] + "…"


def _draw_panel(axes: Axes, rows: list[Row], metric: str, whole: Metric, *, colour: str, marker: str) -> None:
    plain(axes)
    axes.grid(False, axis="y")
    axes.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.4, -0.6))
    if whole.value is not None:
        axes.axvline(whole.value, color=GRAY, linewidth=1, linestyle="--", label="all cases")
    if metric == "auc":
        axes.axvline(0.5, color=LIGHT, linewidth=1, linestyle=":", label="chance (AUC)")
        axes.plot([], [], marker, color=colour, linestyle="-", label="value and 95 % interval")
        axes.plot(
            [],
            [],
            marker,
            color=colour,
            markerfacecolor="white",
            linestyle="-",
            label=f"* fewer than {FEW_POSITIVES} malignant cases",
        )
    for y, row in enumerate(rows):
        if row.group:
            _draw_metric(axes, y, row.group.metrics[metric], row.group.few, colour=colour, marker=marker)


def _draw_metric(axes: Axes, y: int, metric: Metric, few: bool, *, colour: str, marker: str) -> None:
    if metric.value is None:
        axes.text(0.0, y, f"{DASH} {metric.undefined}", fontsize=8, color=GRAY, va="center", style="italic")
        return
    if metric.low is not None and metric.high is not None:
        axes.plot([metric.low, metric.high], [y, y], color=colour, linewidth=1.4)
    else:
        side = 0.06 if metric.value < 0.55 else -0.06
        axes.text(
            metric.value + side,
            y,
            "no interval",
            fontsize=8,
            color=GRAY,
            va="center",
            ha="left" if side > 0 else "right",
            style="italic",
        )
    axes.plot(metric.value, y, marker, color=colour, markerfacecolor="white" if few else colour, markersize=6)


def _label_rows(axes: Axes, rows: list[Row]) -> None:
    labels = [literal(row.label + (" *" if row.group and row.group.few else "")) for row in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=9)
    axes.tick_params(axis="y", length=0)
    for text, row in zip(axes.get_yticklabels(), rows, strict=True):
        if row.group is None:
            text.set_fontweight("bold")


def _write_counts(axes: Axes, rows: list[Row]) -> None:
    axes.axis("off")
    axes.set(xlim=(0, 1))
    axes.set_title("n / malignant", fontsize=9)
    for y, row in enumerate(rows):
        if row.group:
            axes.text(0.5, y, f"{row.group.n:,} / {row.group.n_positive:,}", fontsize=9, ha="center", va="center")
