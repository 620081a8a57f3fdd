"""A training log in, learning curves out: training beside validation, the gap between them, and the epoch that was kept."""

from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammo.report.charts_style import BLUE, GRAY, LIGHT, ORANGE, add_legend, open_axes
from mammo.report.source import ReportSource

NAMES = {"auc": "AUC", "loss": "loss (cross-entropy)", "recall": "recall at 0.5"}
MONITOR: dict[str, Any] = {"monitor": "validation/auc", "mode": "max", "min_delta": 0.0}


def draw_learning(source: ReportSource, metric: str) -> Figure | None:
    """One metric over the epochs; None where no log has it."""
    log = source.log
    if log is None or not {f"train/{metric}", f"validation/{metric}"} <= set(log):
        return None
    figure, axes = open_axes(4.3, 3.3)
    epochs = log["epoch"].to_numpy(float)
    train, validation = (log[f"{part}/{metric}"].to_numpy(float) for part in ("train", "validation"))
    axes.fill_between(epochs, train, validation, color=LIGHT, alpha=0.35, linewidth=0, label="gap")
    axes.plot(epochs, train, color=ORANGE, linestyle="--", marker="s", markersize=3.5, label="training")
    axes.plot(epochs, validation, color=BLUE, marker="o", markersize=3.5, label="validation")
    _finish(figure, axes, source, NAMES[metric])
    return figure


def draw_learning_gap(source: ReportSource) -> Figure | None:
    """AUC of training minus that of validation: what over-fitting looks like."""
    log = source.log
    if log is None or not {"train/auc", "validation/auc"} <= set(log):
        return None
    figure, axes = open_axes(4.3, 3.3)
    gap = log["train/auc"].to_numpy(float) - log["validation/auc"].to_numpy(float)
    axes.axhline(0, color=GRAY, linewidth=0.8)
    axes.plot(log["epoch"].to_numpy(float), gap, color="black", linestyle="-.", marker="D", markersize=3.5, label="gap")
    _finish(figure, axes, source, "AUC, training - validation")
    return figure


def _finish(figure: Figure, axes: Axes, source: ReportSource, name: str) -> None:
    best = best_epoch(source)
    if best is not None:
        axes.axvline(best, color="black", linewidth=1, linestyle=":", label=f"best epoch {best}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=name)
    add_legend(figure, axes)


def best_epoch(source: ReportSource) -> int | None:
    """The epoch whose network was kept, by the run's own rule of early stopping; None where the log cannot tell."""
    if source.log is None:
        return None
    rule = MONITOR | _early_stopping(source.config)
    if rule["monitor"] not in source.log:
        return None
    return _first_best(source.log, rule["monitor"], 1.0 if rule["mode"] == "max" else -1.0, rule["min_delta"])


def _first_best(log: pd.DataFrame, monitor: str, sign: float, min_delta: float) -> int | None:
    best, kept = -np.inf, None
    for epoch, value in zip(log["epoch"], log[monitor].to_numpy(float), strict=True):
        if np.isfinite(value) and (kept is None or sign * value > best + min_delta):
            best, kept = sign * value, int(epoch)
    return kept


def _early_stopping(config: str) -> dict[str, Any]:
    """What the configuration says of early stopping; nothing where it is not one."""
    try:
        found = yaml.safe_load(config)["training"]["early_stopping"]
        return {name: found[name] for name in MONITOR}
    except (yaml.YAMLError, KeyError, TypeError):
        return {}
