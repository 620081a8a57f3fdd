"""Lists the runs below a folder: what each is, and what it reached on its test part."""

import os
from collections.abc import Iterator
from pathlib import Path

from mammo.files import read_json
from mammo.runs import CONFIG_FILE
from mammo.settings.metrics import shown_in

NOT_RUNS = {"store", "checkpoints", "visualdl", "report"}
SHOWN = shown_in("levels")
HEADER = ("run", "n (+)", *(one.short or one.english for one in SHOWN), "split")


def list_runs(output: Path) -> list[tuple[str, ...]]:
    """A row per run, oldest first; "not judged" where a run has no report yet."""
    return [_row(folder, output) for folder in sorted(find_runs(output), key=lambda folder: folder.name)]


def find_runs(output: Path) -> Iterator[Path]:
    """All run folders below a folder; a cross-validation counts once; links and stores are skipped."""
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
        values = [_number(level[one.key], bounds=one.key == "auc") for one in SHOWN]
        return (name, f"{level['n']} ({level['n_positive']})\n{task}", *values, _split_of(found))
    except FileNotFoundError:
        return (name, "not judged", *["-"] * (len(HEADER) - 2))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return (name, "damaged", *["-"] * (len(HEADER) - 2))


def _number(metric: dict, *, bounds: bool) -> str:
    value = "-" if metric["value"] is None else f"{metric['value']:.3f}"
    return f"{value} ({metric['low']:.2f}–{metric['high']:.2f})" if bounds and "low" in metric else value


def _split_of(found: dict) -> str:
    point = found["operating_point"]
    return "folds" if "folds" in point else str(point.get("split_sha256", ""))[:8] or "-"
