"""Several runs of one recipe in, the mean and spread of what they measured out: what a results table quotes."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from mammo.errors import DataMissingError
from mammo.report.curves import read_log
from mammo.runs import find_run, fold_folder, is_cross_validation, is_trained, read_folds, refuse_doubles

AT_POINT = ("recall", "specificity", "accuracy")


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
        len(folders), [(name, _mean_and_spread(found), ", ".join(f"{value:.3f}" for value in found)) for name, found in values.items()]
    )


def _runs_in(folder: Path) -> list[Path]:
    """The run, or the folds of a cross-validation."""
    if not is_trained(folder):
        raise DataMissingError(f"{folder}: has no training of its own (an ensemble, or a judgement kept elsewhere); name runs")
    return [fold_folder(folder, fold) for fold in range(read_folds(folder))] if is_cross_validation(folder) else [folder]


def _measured(folder: Path, level: str) -> dict[str, float]:
    path = folder / "report" / "metrics.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["levels"][level]
        kept = json.loads((folder / "checkpoints" / "best" / "state.json").read_text(encoding="utf-8"))["epoch"]
    except FileNotFoundError as error:
        raise DataMissingError(f"{error.filename}: is missing; let the run end, or judge it: python tools/eval.py --run {folder}") from None
    except KeyError as error:
        raise DataMissingError(
            f"{path}: holds no {error}; expected a report with the level {level}, which the run's task may not have"
        ) from None
    except (ValueError, TypeError) as error:
        raise DataMissingError(f"{path}: is damaged ({error}); judge again: python tools/eval.py --run {folder}") from error
    log = read_log(folder / "log.jsonl").set_index("epoch").loc[kept]
    test = {"test AUC": found["auc"]["value"]}
    test |= {f"test {name} at the operating point": found[name]["value"] for name in AT_POINT}
    test |= {f"test {name} at 0.5": found["at_half"][name]["value"] for name in AT_POINT}
    chosen = {"training AUC": log["train/auc"], "validation AUC (used for selection)": log["validation/auc"], "gap": log["gap/auc"]}
    return {name: float(value) for name, value in (test | chosen | {"epoch kept": kept}).items() if value is not None}


def _mean_and_spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"
