"""Reads a run's `log.jsonl` and draws its learning curves: training, validation, and the gap between them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mammo.errors import DataMissingError
from mammo.plots.style import BLUE, GRAY, LIGHT, ORANGE, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_STEPS = 2**53  # larger ones are no floats
GAP = "gap"
NAMES = {"auc": "AUC", GAP: "AUC, training - validation", "loss": "loss (cross-entropy)", "recall": "recall at 0.5"}
STYLES: dict[str, dict[str, Any]] = {
    "training": {"color": ORANGE, "linestyle": "--", "marker": "s"},
    "validation": {"color": BLUE, "linestyle": "-", "marker": "o"},
    GAP: {"color": "black", "linestyle": "-.", "marker": "D"},
}


def read_log(path: Path) -> pd.DataFrame:
    """Read a log: a row per epoch.

    Raises:
        DataMissingError: There is none, or it has no complete epoch.
    """
    if not path.is_file():
        raise DataMissingError(f"{path}: there is no log; the run has not finished an epoch")
    rows = [row for row in map(_row, path.read_text(encoding="utf-8", errors="replace").splitlines()) if row]
    if not rows:
        raise DataMissingError(
            f"{path}: the log has no whole line of an epoch; the run has not finished one, or the log is damaged"
        )
    log = pd.DataFrame(rows).drop_duplicates("epoch", keep="last").sort_values("epoch")
    return log.astype({name: float for name in log if name not in ("epoch", "time")})


def _row(line: str) -> dict[str, object]:
    """The line of an epoch. A line that a power cut left incomplete is skipped: resuming trains its epoch again."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    whole = isinstance(row, dict) and type(row.get("epoch")) is int and isinstance(row.get("time", ""), str)
    return row if whole and all(_is_number(value) for name, value in row.items() if name != "time") else {}


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < MOST_STEPS)


def draw_learning(
    axes: Axes, logs: Sequence[pd.DataFrame], metric: str, *, names: Sequence[str] = (), best_epoch: int | None = None
) -> None:
    """Draw one metric of a run, or of several over each other, over the epochs.

    Args:
        logs: Logs of `read_log`, of one run, or of its folds, or of the runs in `names`.
        metric: A key of `NAMES`; `gap` is the AUC of training minus that of validation.
        names: Give each run a colour and its name in the legend.
        best_epoch: Is marked.
    """
    from matplotlib.ticker import MaxNLocator

    size = {"markersize": 3.5, "linewidth": 1.5} if len(logs) == 1 else {"markersize": 2, "linewidth": 1}
    if metric == GAP:
        axes.axhline(0, color=GRAY, linewidth=0.8)
    for number, log in enumerate(logs):
        lines = _lines(log, metric)
        if len(logs) == 1 and len(lines) == 2:
            training, validation = lines.values()
            axes.fill_between(log["epoch"], training, validation, color=LIGHT, alpha=0.35, linewidth=0, label="gap")
        for part, values in lines.items():
            style = STYLES[part] | size
            label = "" if number else part
            if names:
                style["color"], label = f"C{number}", f"{names[number]} {part}"
            axes.plot(log["epoch"], values, label=label, **style)
    if best_epoch is not None:
        axes.axvline(best_epoch, color="black", linewidth=1, linestyle=":", label=f"best epoch {best_epoch}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="epoch", ylabel=NAMES[metric])


def has_lines(log: pd.DataFrame, metric: str) -> bool:
    """Whether a log has a metric of training and of validation."""
    name = "auc" if metric == GAP else metric
    return {f"train/{name}", f"validation/{name}"} <= set(log)


def _lines(log: pd.DataFrame, metric: str) -> dict[str, pd.Series]:
    """The lines that the log has, by the name of their style."""
    if metric == GAP:
        return {GAP: log["train/auc"] - log["validation/auc"]} if has_lines(log, GAP) else {}
    columns = {"training": f"train/{metric}", "validation": f"validation/{metric}"}
    return {part: log[column] for part, column in columns.items() if column in log}


def write_curves(folders: dict[str, Path], path: Path) -> None:
    """Draw the learning curves of run folders, by name, to a PNG; a single run needs no name."""
    from matplotlib.figure import Figure

    logs = [read_log(folder / "log.jsonl") for folder in folders.values()]
    figure = Figure(figsize=(13, 3.4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, len(NAMES)), NAMES, strict=True):
        plain(axes)
        draw_learning(axes, logs, metric, names=[name for name in folders if name])
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, framealpha=0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
