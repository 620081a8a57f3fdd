"""Draws what training logs of the validation part after each epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mammo.evaluation.judge import PointResult
from mammo.evaluation.metrics import Metric, count_confusion, measure_at, measure_ranking
from mammo.plots.curves import SQUARE_IN, Curve, draw_precision_recall, draw_roc
from mammo.plots.style import as_figure
from mammo.plots.thresholds import CONFUSION_IN, draw_confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
