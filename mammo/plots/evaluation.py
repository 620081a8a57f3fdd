"""Labels and scores in, matplotlib figures out: ROC, precision-recall, confusion matrix."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from mammo.evaluation.metrics import Confusion, count_confusion, measure_at, measure_ranking

if TYPE_CHECKING:  # a training draws at its first epoch's end; until then it need not wait for matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_roc(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Figure:
    """The ROC curve with the operating point marked; an empty frame with the reason where there is one class only."""
    figure, axes = _one((4.2, 4))
    auc = measure_ranking(labels, scores)["auc"]
    axes.set(xlabel="1 - specificity", ylabel="recall (sensitivity)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(f"ROC, AUC {auc}" if auc.value is not None else f"ROC undefined: {auc.undefined}")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    if auc.value is not None:
        from sklearn.metrics import roc_curve

        alarm, hit, _ = roc_curve(labels, scores)
        axes.plot(alarm, hit, color="tab:blue")
        at = measure_at(count_confusion(labels, scores, threshold))
        axes.plot(
            1 - (at["specificity"].value or 0),
            at["recall"].value or 0,
            "o",
            color="tab:red",
            label=f"threshold {threshold:.3f}",
        )
        axes.legend(loc="lower right")
    return figure


def draw_precision_recall(labels: np.ndarray, scores: np.ndarray) -> Figure:
    """The precision-recall curve over the share of malignant cases."""
    figure, axes = _one((4.2, 4))
    precision_at = measure_ranking(labels, scores)["average_precision"]
    axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.set_title(f"Precision-recall, AP {precision_at}")
    if precision_at.value is not None:
        from sklearn.metrics import precision_recall_curve

        precision, recall, _ = precision_recall_curve(labels, scores)
        axes.plot(recall, precision, color="tab:blue")
        axes.axhline(labels.mean(), color="0.7", linewidth=1)
    return figure


def draw_confusion(confusion: Confusion, title: str) -> Figure:
    """The confusion matrix with its counts."""
    counts = np.array(
        [[confusion.true_negative, confusion.false_positive], [confusion.false_negative, confusion.true_positive]]
    )
    figure, axes = _one((3.6, 3.4))
    axes.imshow(counts, cmap="Blues", vmin=0)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if count > counts.max() / 2 else "black"
        )
    axes.set(title=title, xlabel="called", ylabel="is", xticks=[0, 1], yticks=[0, 1])
    axes.set_xticklabels(["benign", "malignant"])
    axes.set_yticklabels(["benign", "malignant"], rotation=90, va="center")
    return figure


def _one(size: tuple[float, float]) -> tuple[Figure, Axes]:
    """A figure of one frame, its margins fixed: to find them out takes matplotlib as long as all the drawing, in each epoch."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size)
    return figure, figure.subplots(gridspec_kw={"left": 0.16, "right": 0.96, "bottom": 0.13, "top": 0.91})


def as_picture(figure: Figure) -> np.ndarray:
    """Render a figure: uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with any_letters():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


@contextmanager
def any_letters() -> Iterator[None]:
    """Draw without a word on letters that matplotlib's font lacks, such as Chinese names of runs and groups."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
