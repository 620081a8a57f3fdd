"""Writes compared systems: `compare.json`, and their curves over each other as `compare.png`."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from mammo.evaluation.calibration import reliability
from mammo.evaluation.compare import Comparison, System
from mammo.evaluation.judge import one_decision
from mammo.evaluation.metrics import measure_ranking
from mammo.evaluation.scores import gather_level
from mammo.files import write_json
from mammo.plots.curves import Curve, draw_calibration, draw_precision_recall, draw_roc
from mammo.plots.style import any_letters, literal, plain

LINES = ("-", "--", "-.", ":")


def write_comparison(systems: tuple[System, ...], comparisons: tuple[Comparison, ...], folder: Path) -> Path:
    """Write both into a folder, which is made; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "compare.json", [comparison.as_json() for comparison in comparisons])
    with any_letters():
        draw_overlaid(systems, comparisons[0].level).savefig(folder / "compare.png", dpi=110)
    return folder


def draw_overlaid(systems: tuple[System, ...], level: str) -> Figure:
    """Draw ROC, precision-recall and calibration of all systems."""
    legend_in = 0.6 + 0.2 * len(systems)
    figure = Figure(figsize=(12, 4.1 + legend_in))
    roc, precision_recall, calibration = figure.subplots(1, 3)
    curves = [_curve(system, level, number) for number, system in enumerate(systems)]
    draw_roc(roc, curves, title="ROC")
    draw_precision_recall(precision_recall, curves, title="precision-recall")
    for curve in curves:
        bins = reliability(curve.labels, curve.scores)
        draw_calibration(calibration, bins, title="calibration", **curve.style)
    for axes in (roc, precision_recall, calibration):
        plain(axes)
    figure.legend(*roc.get_legend_handles_labels(), loc="lower center", fontsize=8)
    bottom = (legend_in + 0.3) / (4.1 + legend_in)
    figure.subplots_adjust(left=0.05, right=0.99, top=0.94, bottom=bottom, wspace=0.15)
    return figure


def _curve(system: System, level: str, number: int) -> Curve:
    decision = one_decision(system.decisions)
    frame = gather_level(system.scores, level, task=decision.task, how=decision.level_score)
    labels, scores = frame["label"].to_numpy(int), frame["score"].to_numpy(float)
    auc = measure_ranking(labels, scores)["auc"]
    label = f"{literal(system.name)}: AUC {auc}" + (f" ({auc.undefined})" if auc.undefined else "")
    style: dict[str, Any] = {"color": f"C{number}", "linestyle": LINES[number % len(LINES)]}
    return Curve(labels, scores, label, style)
