"""A run's `log.jsonl` in, its learning curves out: training beside validation, and the gap between them."""

import json
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mammo.errors import DataMissingError

MOST_STEPS = 2**53  # larger ones are no floats
PANELS = (("auc", "AUC"), ("loss", "loss (cross-entropy)"), ("recall", "recall at 0.5"))


def read_log(path: Path) -> pd.DataFrame:
    """Read a log: a row per epoch.

    Raises:
        DataMissingError: There is none, or it has no epoch that is whole.
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
    """An epoch's line; one that a power cut left half is passed over, its epoch is trained again on resuming."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    whole = isinstance(row, dict) and type(row.get("epoch")) is int and isinstance(row.get("time", ""), str)
    return row if whole and all(_is_number(value) for name, value in row.items() if name != "time") else {}


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < MOST_STEPS)


def draw_curves(logs: dict[str, pd.DataFrame]) -> Figure:
    """Draw the curves of one run, or of several over each other.

    Args:
        logs: Logs of `read_log` by the name of their run.
    """
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    for axes, (metric, title) in zip(
        figure.subplots(1, 4), (*PANELS, ("gap", "AUC gap: training - validation")), strict=True
    ):
        for number, (name, log) in enumerate(logs.items()):
            colour = f"C{number}"
            lines = {"gap/auc": (name or "gap", "-")}
            if metric != "gap":
                lines = {
                    f"validation/{metric}": (f"{name} validation", "-"),
                    f"train/{metric}": (f"{name} training", "--"),
                }
            for column, (label, style) in lines.items():
                if column in log:
                    axes.plot(log["epoch"], log[column], color=colour, linestyle=style, label=label.strip())
        axes.set(title=title, xlabel="epoch")
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend(fontsize=7, framealpha=0.5)
    return figure


def write_curves(folders: dict[str, Path], path: Path) -> None:
    """Draw the curves of run folders to a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_curves({name: read_log(folder / "log.jsonl") for name, folder in folders.items()}).savefig(path, dpi=110)
