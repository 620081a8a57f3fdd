"""Summarises several runs of one recipe: the mean and spread of their metrics, as a results table quotes them."""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mammo.errors import DataMissingError
from mammo.files import read_json
from mammo.plots.learning import read_log
from mammo.runs import find_run, fold_folder, is_cross_validation, is_trained, read_folds, refuse_doubles
from mammo.settings.metrics import shown_in

AT_POINT = [one for one in shown_in("summary") if one.key != "auc"]
CHOSEN = {"training AUC": "train/auc", "validation AUC (used for selection)": "validation/auc", "gap": "gap/auc"}


@dataclass(frozen=True)
class Summary:
    """`rows`: name, mean ± sample standard deviation, and each run's value, all as text."""

    runs: int
    rows: list[tuple[str, str, str]]


def summarise(folders: list[Path], level: str) -> Summary:
    """Gather the test part's metrics of runs, and the training and validation AUC of the epoch that each kept.

    Args:
        folders: Run folders; a cross-validation stands for its folds.
        level: lesion, image, breast or patient.

    Raises:
        DataMissingError: A run has no report yet, or none at that level.
    """
    refuse_doubles(folders)
    found = [find_run(folder.parent, folder) for folder in folders]
    folders = [run for folder in found for run in _runs_in(folder)]
    values: dict[str, list[float]] = {}
    for folder in folders:
        for name, value in _measured(folder, level).items():
            values.setdefault(name, []).append(value)
    return Summary(
        len(folders),
        [
            (name, _mean_and_spread(found), ", ".join(f"{value:.3f}" for value in found))
            for name, found in values.items()
        ],
    )


def _runs_in(folder: Path) -> list[Path]:
    """The run, or the folds of a cross-validation."""
    if not is_trained(folder):
        raise DataMissingError(
            f"{folder}: has no training of its own (an ensemble, or a judgement kept elsewhere); name runs"
        )
    return (
        [fold_folder(folder, fold) for fold in range(read_folds(folder))] if is_cross_validation(folder) else [folder]
    )


def _measured(folder: Path, level: str) -> dict[str, float]:
    report, best = folder / "report" / "metrics.json", folder / "checkpoints" / "best" / "state.json"
    again = f"judge again: mammo eval --run {folder}"
    with _reading(report, f"expected a report with the level {level}, which the run's task may not have", again):
        found = read_json(report)["levels"][level]
        values = {"test AUC": found["auc"]["value"]}
        values |= {f"test {one.english} at the operating point": found[one.key]["value"] for one in AT_POINT}
        values |= {f"test {one.english} at 0.5": found["at_half"][one.key]["value"] for one in AT_POINT}
        measured = {name: float(value) for name, value in values.items() if value is not None}
    with _reading(best, "expected the state of a checkpoint", "use another run"):
        kept = int(read_json(best)["epoch"])
    log = read_log(folder / "log.jsonl").set_index("epoch")
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
