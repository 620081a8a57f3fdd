"""Gathers what runs reached on their test parts: a list of all runs, and mean and spread of several runs."""

import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from mammo.errors import DataMissingError
from mammo.files import read_json
from mammo.plots.learning import read_log
from mammo.runs import CONFIG_FILE, find_run, fold_folders, is_cross_validation, is_trained, refuse_doubles
from mammo.settings.metrics import shown_in

NOT_RUNS = {"store", "checkpoints", "visualdl", "report"}
LISTED = shown_in("levels")
HEADER = ("run", "n (+)", *(one.short or one.english for one in LISTED), "split")
AT_POINT = [one for one in shown_in("summary") if one.key != "auc"]
CHOSEN = {"training AUC": "train/auc", "validation AUC (used for selection)": "validation/auc", "gap": "gap/auc"}


def list_runs(output: Path) -> list[tuple[str, ...]]:
    """A row per run below a folder, oldest first; "not judged" where a run has no report yet."""
    return [_row(folder, output) for folder in sorted(_find_runs(output), key=lambda folder: folder.name)]


def _find_runs(output: Path) -> Iterator[Path]:
    """All run folders below a folder; a cross-validation counts once; links and stores are skipped."""
    for name, folders, files in os.walk(output):
        if CONFIG_FILE in files:
            folders.clear()
            yield Path(name)
        else:
            folders[:] = sorted(folder for folder in folders if folder not in NOT_RUNS)


def _row(folder: Path, output: Path) -> tuple[str, ...]:
    name = "/\n".join(folder.relative_to(output).parts)
    no_values = ["-"] * (len(HEADER) - 2)
    try:
        found = read_json(folder / "report" / "metrics.json")
        task, point = found["task"], found["operating_point"]
        level = found["levels"][task]
        values = [_number(level[one.key], bounds=one.key == "auc") for one in LISTED]
        split = "folds" if "folds" in point else str(point.get("split_sha256", ""))[:8] or "-"
        if (folder / "on_all.json").is_file():  # its figures are those of the folds that chose its recipe
            split = "of its folds"
        return (name, f"{level['n']} ({level['n_positive']})\n{task}", *values, split)
    except FileNotFoundError:
        return (name, "not judged", *no_values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return (name, "damaged", *no_values)


def _number(metric: dict, *, bounds: bool) -> str:
    value = "-" if metric["value"] is None else f"{metric['value']:.3f}"
    return f"{value} ({metric['low']:.2f}–{metric['high']:.2f})" if bounds and "low" in metric else value


def summarise(folders: list[Path], level: str) -> tuple[int, list[tuple[str, str, str]]]:
    """Gather the test part's metrics of runs, and the training and validation AUC of the epoch that each kept.

    Args:
        folders: Run folders; a cross-validation stands for its folds.
        level: lesion, finding, image, breast or patient.

    Returns:
        The number of runs; and rows of text: name, mean ± sample standard deviation, each run's value.

    Raises:
        DataMissingError: A run has no report yet, or none at that level.
    """
    refuse_doubles(folders)
    found = [find_run(folder.parent, folder) for folder in folders]
    runs = [run for folder in found for run in _runs_in(folder)]
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in _measured(run, level).items():
            values.setdefault(name, []).append(value)
    rows = []
    for name, of_runs in values.items():
        rows.append((name, _mean_and_spread(of_runs), ", ".join(f"{value:.3f}" for value in of_runs)))
    return len(runs), rows


def _runs_in(folder: Path) -> list[Path]:
    """The run, or the folds of a cross-validation."""
    if not is_trained(folder):
        why = "has no training of its own (an ensemble, or a judgement kept elsewhere)"
        raise DataMissingError(f"{folder}: {why}; name runs")
    if is_cross_validation(folder):
        return list(fold_folders(folder).values())
    return [folder]


def read_kept(folder: Path) -> tuple[pd.DataFrame, int]:
    """Read a run's log, with the epochs as its index, and which epoch's network the run kept.

    Raises:
        DataMissingError: The run has not ended, or a file of it is damaged.
    """
    best = folder / "checkpoints" / "best" / "state.json"
    with _reading(best, "expected the state of a checkpoint", "use another run"):
        kept = int(read_json(best)["epoch"])
    log = read_log(folder / "log.jsonl").set_index("epoch")
    with _reading(folder / "log.jsonl", f"expected a line for the epoch kept, {kept}", "use another run"):
        log.loc[kept]
    return log, kept


def _measured(folder: Path, level: str) -> dict[str, float]:
    report = folder / "report" / "metrics.json"
    again = f"judge again: mammo eval --run {folder}"
    with _reading(report, f"expected a report with the level {level}, which the run's task may not have", again):
        found = read_json(report)["levels"][level]
        values = {"test AUC": found["auc"]["value"]}
        values |= {f"test {one.english} at the operating point": found[one.key]["value"] for one in AT_POINT}
        values |= {f"test {one.english} at 0.5": found["at_half"][one.key]["value"] for one in AT_POINT}
        measured = {name: float(value) for name, value in values.items() if value is not None}
    log, kept = read_kept(folder)
    with _reading(folder / "log.jsonl", f"expected a line for the epoch kept, {kept}", "use another run"):
        chosen = {name: float(log[column].loc[kept]) for name, column in CHOSEN.items()}
    return measured | chosen | {"epoch kept": float(kept)}


@contextmanager
def _reading(path: Path, expected: str, advice: str) -> Iterator[None]:
    """Report in one line what a file of a run lacks."""
    try:
        yield
    except FileNotFoundError as error:
        raise DataMissingError(f"{path}: is missing; let the run end, or {advice}") from error
    except KeyError as error:
        raise DataMissingError(f"{path}: holds no {error}; {expected}") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise DataMissingError(f"{path}: is damaged ({error}); {advice}") from error


def _mean_and_spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"
