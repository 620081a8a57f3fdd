"""Lists the charts of a report: each by name, with its section of the page, its captions and the call that draws it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mammo.evaluation.judge import CalibrationSide, PointResult
from mammo.evaluation.operating_point import Decision
from mammo.plots.curves import SQUARE_IN, Curve, draw_calibration, draw_precision_recall, draw_roc, pooled_curves
from mammo.plots.learning import draw_learning, has_lines
from mammo.plots.style import BLUE, GRAY, as_figure, rule_name
from mammo.plots.subgroups import draw_subgroups
from mammo.plots.thresholds import CONFUSION_IN, draw_confusion, draw_scores, draw_sweep
from mammo.report.source import ReportSource

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_LOG = "no training log belongs to these scores"


@dataclass(frozen=True)
class Chart:
    """A chart: `draw` returns the figure, or the reason why there is none (empty where none is due).

    Attributes:
        section: Where the page shows it.
        english: Its caption.
        chinese: Its caption.
        draw: Draws it.
        size: `small` or `wide`; empty for the usual one.
    """

    section: str
    english: str
    chinese: str
    draw: Callable[[ReportSource], Figure | str]
    size: str = ""


def draw_charts(source: ReportSource) -> dict[str, Figure | str]:
    """Draw every chart: a figure, or the reason why there is none."""
    return {name: chart.draw(source) for name, chart in CHARTS.items()}


def _roc(source: ReportSource) -> Figure | str:
    auc = source.judgement.own.ranking["auc"]
    if auc.undefined:
        return auc.undefined
    title = ("pooled AUC " if source.folds else "AUC ") + auc.with_bounds()
    return as_figure(draw_roc, _curves(source), source.judgement.own.points, title=title, size_in=SQUARE_IN)


def _precision_recall(source: ReportSource) -> Figure | str:
    own = source.judgement.own
    precision = own.ranking["average_precision"]
    if precision.undefined:
        return precision.undefined
    title = f"average precision {precision.with_bounds()}"
    return as_figure(draw_precision_recall, _curves(source), own.points, title=title, size_in=SQUARE_IN)


def _labels_and_scores(source: ReportSource) -> tuple[np.ndarray, np.ndarray]:
    return source.scores["label"].to_numpy(int), source.scores["score"].to_numpy(float)


def _curves(source: ReportSource) -> list[Curve]:
    if not source.folds:
        return [Curve(*_labels_and_scores(source))]
    single = [] if "fold" not in source.scores else [group for _, group in source.scores.groupby("fold", sort=True)]
    folds = [(group["label"].to_numpy(int), group["score"].to_numpy(float)) for group in single]
    return pooled_curves(*_labels_and_scores(source), folds)


def _confusion(point: PointResult) -> Figure:
    title = rule_name(point.rule)
    if point.threshold is None:
        title += ", own of each fold"
    elif not title.startswith("threshold"):
        title += f", threshold {point.threshold:.3f}"
    return as_figure(draw_confusion, point.confusion, title=title, size_in=CONFUSION_IN)


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
    return as_figure(draw_sweep, rows, source.judgement.own.points, _fold_thresholds(source))


def _calibration(side: CalibrationSide | None, title: str, color: str) -> Figure | str:
    return as_figure(draw_calibration, side.bins, title=title, color=color, size_in=SQUARE_IN) if side else ""


def _calibration_after(source: ReportSource) -> Figure | str:
    title = "after calibration" if source.judgement.before else "scores as given"
    return _calibration(source.judgement.after, title, BLUE)


def _scores(source: ReportSource) -> Figure | str:
    return as_figure(draw_scores, *_labels_and_scores(source), source.judgement.own.points, _fold_thresholds(source))


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
    "roc": Chart("ranking", "ROC curve", "ROC 曲线", _roc),
    "precision_recall": Chart("ranking", "Precision-recall curve", "精确率-召回率曲线", _precision_recall),
    "confusion_main": Chart(
        "points", "Main operating point", "主工作点", lambda source: _confusion(source.judgement.own.main), "small"
    ),
    "confusion_half": Chart("points", "At 0.5", "阈值 0.5", _confusion_half, "small"),
    "sweep": Chart("points", "Every threshold", "所有阈值", _sweep),
    "reliability_before": Chart(
        "calibration",
        "Reliability before calibration",
        "校准前的可靠性图",
        lambda source: _calibration(source.judgement.before, "before calibration", GRAY),
    ),
    "reliability_after": Chart("calibration", "Reliability of the scores", "评分的可靠性图", _calibration_after),
    "scores": Chart("calibration", "Scores of both classes, with the thresholds", "两类的评分分布及阈值", _scores),
    "subgroups": Chart("subgroups", "AUC and recall by group", "各组的 AUC 与召回率", _subgroups, "wide"),
    "learning_auc": Chart("learning", "AUC", "AUC", _learning("auc")),
    "learning_gap": Chart("learning", "The gap: over-fitting", "差距：过拟合", _learning("gap")),
    "learning_loss": Chart("learning", "Loss", "损失", _learning("loss")),
    "learning_recall": Chart("learning", "Recall at 0.5", "阈值 0.5 时的召回率", _learning("recall")),
}
