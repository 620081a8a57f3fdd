"""A folder of runs in, one row for each out: what it was, and what it reached on its test part."""

import os
from collections.abc import Iterator
from pathlib import Path

from mammo.files import read_json
from mammo.runs import CONFIG_FILE

NOT_RUNS = {"store", "checkpoints", "visualdl", "report"}
HEADER = ("run", "n (+)", "AUC (95 %)", "recall", "spec.", "split")


def list_runs(output: Path) -> list[tuple[str, ...]]:
    """A row per run, oldest first; what a run has not reached yet is said."""
    return [_row(folder, output) for folder in sorted(find_runs(output), key=lambda folder: folder.name)]


def find_runs(output: Path) -> Iterator[Path]:
    """All run folders below a folder; a cross-validation counts once, links and stores are passed by."""
    for name, folders, files in os.walk(output):
        if CONFIG_FILE in files:
            folders.clear()
            yield Path(name)
        else:
            folders[:] = sorted(folder for folder in folders if folder not in NOT_RUNS)


def _row(folder: Path, output: Path) -> tuple[str, ...]:
    name = "/\n".join(folder.relative_to(output).parts)
    path = folder / "report" / "metrics.json"
    try:
        found = read_json(path)
        task = found["task"]
        level = found["levels"][task]
        auc = level["auc"]
        bounds = f" ({auc['low']:.2f}–{auc['high']:.2f})" if "low" in auc else ""
        values = (f"{_number(auc)}{bounds}", _number(level["recall"]), _number(level["specificity"]))
        return (name, f"{level['n']} ({level['n_positive']})\n{task}", *values, _split_of(found))
    except FileNotFoundError:
        return (name, "not judged", "-", "-", "-", "-")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return (name, "damaged", "-", "-", "-", "-")


def _number(metric: dict) -> str:
    return "-" if metric["value"] is None else f"{metric['value']:.3f}"


def _split_of(found: dict) -> str:
    point = found["operating_point"]
    return "folds" if "folds" in point else str(point.get("split_sha256", ""))[:8] or "-"
