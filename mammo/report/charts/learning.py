"""A training log in, learning curves out: training beside validation, the gap between them, and the epoch that was kept."""

from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammo.report.charts.style import BLUE, GRAY, LIGHT, ORANGE, add_legend, open_axes
from mammo.report.source import ReportSource

NAMES = {"auc": "AUC", "loss": "loss (cross-entropy)", "recall": "recall at 0.5"}
MONITOR: dict[str, Any] = {"monitor": "validation/auc", "mode": "max", "min_delta": 0.0}


def draw_learning(source: ReportSource, metric: str) -> Figure | None:
    """One metric over the epochs, of each fold where there are folds; None where no log has it."""
    logs = _logs_with(source, metric)
    if not logs:
        return None
    figure, axes = open_axes(4.3, 3.3)
    for number, log in enumerate(logs):
        epochs = log["epoch"].to_numpy(float)
        train, validation = (log[f"{part}/{metric}"].to_numpy(float) for part in ("train", "validation"))
        style: dict[str, Any] = {"markersize": 3.5 if len(logs) == 1 else 2, "linewidth": 1.5 if len(logs) == 1 else 1}
        if len(logs) == 1:
            axes.fill_between(epochs, train, validation, color=LIGHT, alpha=0.35, linewidth=0, label="gap")
        axes.plot(epochs, train, color=ORANGE, linestyle="--", marker="s", label="" if number else "training", **style)
        axes.plot(epochs, validation, color=BLUE, marker="o", label="" if number else "validation", **style)
    _finish(figure, axes, source, NAMES[metric])
    return figure


def draw_learning_gap(source: ReportSource) -> Figure | None:
    """AUC of training minus that of validation: what over-fitting looks like."""
    logs = _logs_with(source, "auc")
    if not logs:
        return None
    figure, axes = open_axes(4.3, 3.3)
    axes.axhline(0, color=GRAY, linewidth=0.8)
    for number, log in enumerate(logs):
        gap = log["train/auc"].to_numpy(float) - log["validation/auc"].to_numpy(float)
        size = 3.5 if len(logs) == 1 else 2
        axes.plot(
            log["epoch"],
            gap,
            color="black",
            linestyle="-.",
            marker="D",
            markersize=size,
            linewidth=1,
            label="" if number else "gap",
        )
    _finish(figure, axes, source, "AUC, training - validation")
    return figure


def _logs_with(source: ReportSource, metric: str) -> list[pd.DataFrame]:
    logs = source.fold_logs or ((source.log,) if source.log is not None else ())
    return [log for log in logs if {f"train/{metric}", f"validation/{metric}"} <= set(log)]


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
