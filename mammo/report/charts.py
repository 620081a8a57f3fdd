"""Draws the charts of a report, listed by name with their captions, and the curves of compared systems."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mammo.evaluation.calibration import reliability
from mammo.evaluation.compare import Comparison, System
from mammo.evaluation.judge import CalibrationSide, PointResult
from mammo.evaluation.metrics import measure_ranking
from mammo.evaluation.operating_point import Decision, gather
from mammo.files import write_json
from mammo.plots import curves
from mammo.plots.learning import draw_learning, has_lines
from mammo.plots.style import BLUE, GRAY, any_letters, as_figure, literal, plain, rule_name
from mammo.plots.subgroups import draw_subgroups
from mammo.report.source import ReportSource

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("-", "--", "-.", ":")
LEGEND_ROW_IN = 0.2
NO_LOG = "no training log belongs to these scores"


@dataclass(frozen=True)
class Chart:
    """A chart: `draw` returns the figure, or the reason why there is none (empty where none is due).

    Attributes:
        section: Where the page shows it.
        caption: In English; `page/words.csv` has the Chinese.
        draw: Draws it.
        size: `small` or `wide`; empty for the usual one.
    """

    section: str
    caption: str
    draw: Callable[[ReportSource], Figure | str]
    size: str = ""


def draw_charts(source: ReportSource) -> dict[str, Figure | str]:
    """Draw every chart: a figure, or the reason why there is none."""
    return {name: chart.draw(source) for name, chart in CHARTS.items()}


def _roc(source: ReportSource) -> Figure | str:
    own = source.judgement.own
    auc = own.ranking["auc"]
    if auc.undefined:
        return auc.undefined
    title = ("pooled AUC " if source.folds else "AUC ") + auc.with_bounds()
    reader = source.judgement.reader.levels[source.judgement.task] if source.judgement.reader else None
    width, height = curves.SQUARE_IN
    size_in = (width, height + LEGEND_ROW_IN) if reader else curves.SQUARE_IN
    return as_figure(curves.draw_roc, _curves(source), own.points, title=title, reader=reader, size_in=size_in)


def _precision_recall(source: ReportSource) -> Figure | str:
    own = source.judgement.own
    precision = own.ranking["average_precision"]
    if precision.undefined:
        return precision.undefined
    title = f"average precision {precision.with_bounds()}"
    return as_figure(curves.draw_precision_recall, _curves(source), own.points, title=title, size_in=curves.SQUARE_IN)


def _labels_and_scores(scores: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return scores["label"].to_numpy(int), scores["score"].to_numpy(float)


def _curves(source: ReportSource) -> list[curves.Curve]:
    """The curve of the scores; of a cross-validation a thin one of each fold, and the pooled one over them."""
    if not source.folds:
        return [curves.Curve(*_labels_and_scores(source.scores))]
    lines: list[curves.Curve] = []
    if "fold" in source.scores:
        for _, fold in source.scores.groupby("fold", sort=True):
            label = "" if lines else "each fold"
            lines.append(curves.Curve(*_labels_and_scores(fold), label, curves.FOLD))
    return [*lines, curves.Curve(*_labels_and_scores(source.scores), "pooled")]


def _confusion(point: PointResult) -> Figure:
    title = rule_name(point.rule)
    if point.threshold is None:
        title += ", own of each fold"
    elif not title.startswith("threshold"):
        title += f", threshold {point.threshold:.3f}"
    return as_figure(curves.draw_confusion, point.confusion, title=title, size_in=curves.CONFUSION_IN)


def _confusion_main(source: ReportSource) -> Figure:
    return _confusion(source.judgement.own.main)


def _confusion_half(source: ReportSource) -> Figure | str:
    own = source.judgement.own
    return _confusion(own.half) if own.half is not own.main else ""


def _fold_thresholds(source: ReportSource) -> list[float]:
    decisions = source.judgement.decisions
    return [] if isinstance(decisions, Decision) else [one.threshold for one in decisions.values()]


def _sweep(source: ReportSource) -> Figure | str:
    rows = [row for row in source.judgement.sweep if row.threshold is not None]
    if not rows:
        return "there is no threshold to sweep"
    return as_figure(curves.draw_sweep, rows, source.judgement.own.points, _fold_thresholds(source))


def _calibration_before(source: ReportSource) -> Figure | str:
    before = source.judgement.before
    return _calibration(before, "before calibration", GRAY) if before else ""


def _calibration_after(source: ReportSource) -> Figure:
    title = "after calibration" if source.judgement.before else "scores as given"
    return _calibration(source.judgement.after, title, BLUE)


def _calibration(side: CalibrationSide, title: str, color: str) -> Figure:
    return as_figure(curves.draw_calibration, side.bins, title=title, color=color, size_in=curves.SQUARE_IN)


def _scores(source: ReportSource) -> Figure | str:
    cases = _labels_and_scores(source.scores)
    return as_figure(curves.draw_scores, *cases, source.judgement.own.points, _fold_thresholds(source))


def _subgroups(source: ReportSource) -> Figure | str:
    own = source.judgement.own
    if not source.judgement.subgroups:
        return "the score table has no column to group by, or the same value everywhere"
    return draw_subgroups(source.judgement.subgroups, auc=own.ranking["auc"], recall=own.main.metrics["recall"])


def _learning(metric: str) -> Callable[[ReportSource], Figure | str]:
    def draw(source: ReportSource) -> Figure | str:
        if not source.logs:
            return NO_LOG
        logs = [log for log in source.logs if has_lines(log, metric)]
        if not logs:
            return "the training log does not have it"
        return as_figure(draw_learning, logs, metric, best_epoch=source.best_epoch)

    return draw


CHARTS = {
    "roc": Chart("ranking", "ROC curve", _roc),
    "precision_recall": Chart("ranking", "Precision-recall curve", _precision_recall),
    "confusion_main": Chart("points", "Main operating point", _confusion_main, "small"),
    "confusion_half": Chart("points", "At 0.5", _confusion_half, "small"),
    "sweep": Chart("points", "Every threshold", _sweep),
    "reliability_before": Chart("calibration", "Reliability before calibration", _calibration_before),
    "reliability_after": Chart("calibration", "Reliability of the scores", _calibration_after),
    "scores": Chart("calibration", "Scores of both classes, with the thresholds", _scores),
    "subgroups": Chart("subgroups", "AUC and recall by group", _subgroups, "wide"),
    "learning_auc": Chart("learning", "AUC", _learning("auc")),
    "learning_gap": Chart("learning", "The gap: over-fitting", _learning("gap")),
    "learning_loss": Chart("learning", "Loss", _learning("loss")),
    "learning_recall": Chart("learning", "Recall at 0.5", _learning("recall")),
}


def write_comparison(systems: tuple[System, ...], comparisons: tuple[Comparison, ...], folder: Path) -> Path:
    """Write `compare.json`, and the curves over each other as `compare.png`, into a folder; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", [comparison.as_json() for comparison in comparisons])
    with any_letters():
        draw_overlaid(systems, comparisons[0].level).savefig(folder / "compare.png", dpi=110)
    return folder


def draw_overlaid(systems: tuple[System, ...], level: str) -> Figure:
    """Draw ROC, precision-recall and calibration of all systems."""
    from matplotlib.figure import Figure

    legend_in = 0.6 + 0.2 * len(systems)
    figure = Figure(figsize=(12, 4.1 + legend_in))
    roc, precision_recall, calibration = figure.subplots(1, 3)
    lines = [_curve_of(system, level, number) for number, system in enumerate(systems)]
    curves.draw_roc(roc, lines, title="ROC")
    curves.draw_precision_recall(precision_recall, lines, title="precision-recall")
    for line in lines:
        bins = reliability(line.labels, line.scores)
        curves.draw_calibration(calibration, bins, title="calibration", **line.style)
    for axes in (roc, precision_recall, calibration):
        plain(axes)
    figure.legend(*roc.get_legend_handles_labels(), loc="lower center", fontsize=8)
    bottom = (legend_in + 0.3) / (4.1 + legend_in)
    figure.subplots_adjust(left=0.05, right=0.99, top=0.94, bottom=bottom, wspace=0.15)
    return figure


def _curve_of(system: System, level: str, number: int) -> curves.Curve:
    frame = gather(system.scores, level, system.decisions)
    labels, scores = _labels_and_scores(frame)
    auc = measure_ranking(labels, scores)["auc"]
    label = f"{literal(system.name)}: AUC {auc}" + (f" ({auc.undefined})" if auc.undefined else "")
    style: dict[str, Any] = {"color": f"C{number}", "linestyle": LINES[number % len(LINES)]}
    return curves.Curve(labels, scores, label, style)
