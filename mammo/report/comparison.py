"""Compared systems in, `compare.json` and their curves laid over each other, `compare.png`, out."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from mammo.evaluation.calibration import reliability
from mammo.evaluation.cases import gather_level
from mammo.evaluation.compare import Comparison, System
from mammo.evaluation.judge import one_decision
from mammo.evaluation.metrics import measure_ranking
from mammo.files import write_json
from mammo.plots.evaluation import any_letters

LINES = ("-", "--", "-.", ":")


def write_comparison(systems: tuple[System, ...], comparisons: tuple[Comparison, ...], folder: Path) -> Path:
    """Write both into a folder, which is made; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", [comparison.as_json() for comparison in comparisons])
    with any_letters():
        draw_overlaid(systems, comparisons[0].level).savefig(folder / "compare.png", dpi=110)
    return folder


def draw_overlaid(systems: tuple[System, ...], level: str) -> Figure:
    """ROC, precision-recall and reliability of all systems."""
    figure = Figure(figsize=(12, 4.6), layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].set(title="ROC", xlabel="1 - specificity", ylabel="recall (sensitivity)")
    axes[1].set(title="precision-recall", xlabel="recall (sensitivity)", ylabel="precision (PPV)")
    axes[2].set(title="calibration", xlabel="mean score", ylabel="malignant share")
    for diagonal in (axes[0], axes[2]):
        diagonal.plot([0, 1], [0, 1], color="0.75", linewidth=1)
    for number, system in enumerate(systems):
        _draw(axes, system, level, {"color": f"C{number}", "linestyle": LINES[number % len(LINES)]})
    for one in axes:
        one.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        one.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", fontsize=8)
    return figure


def _draw(axes: np.ndarray, system: System, level: str, style: dict[str, Any]) -> None:
    decision = one_decision(system.decisions)
    frame = gather_level(system.scores, level, task=decision.task, how=decision.level_score)
    labels, scores = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
    auc = measure_ranking(labels, scores)["auc"]
    name = f"{system.name}: AUC {auc}" + (f" ({auc.undefined})" if auc.undefined else "")
    if auc.undefined:
        axes[0].plot([], [], label=name, **style)
    else:
        alarm, hit, _ = roc_curve(labels, scores)
        axes[0].plot(alarm, hit, label=name, **style)
        precision, recall, _ = precision_recall_curve(labels, scores)
        axes[1].plot(recall, precision, **style)
    _draw_reliability(axes[2], labels, scores, style)


def _draw_reliability(axes: Axes, labels: np.ndarray, scores: np.ndarray, style: dict[str, Any]) -> None:
    bins = reliability(labels, scores)
    axes.plot(
        [one.mean_score for one in bins], [one.malignant / one.cases for one in bins], marker="o", markersize=4, **style
    )
