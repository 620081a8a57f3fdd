"""A run folder and its judgement in, all that a report tells out, in one piece: pages and cards read nothing else."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from mammo.cases.table import no_exclusions
from mammo.errors import DataMissingError
from mammo.evaluation.judge import Judgement
from mammo.files import read_json
from mammo.plots.curves import read_log
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE, fold_folder, is_cross_validation, read_folds


@dataclass(frozen=True)
class CasePicture:
    """A case that was called wrongly, as JPEG bytes with its box drawn; `mistake` is `false negative` or `false positive`."""

    case_id: str
    patient_id: str
    mistake: str
    score: float
    threshold: float
    about: str
    jpeg: bytes


@dataclass(frozen=True)
class ReportSource:
    """What a report tells.

    `scores` is the table that was judged. `log` has a row per epoch, None where no training belongs to it. `excluded` has
    case, patient_id and reason, `warned` the same of what was taken with a doubt. `parts` is the audit's table
    of who is in which part. `no_pictures` says why there are none.
    `folds` are the judgements of each fold of a cross-validation, with the pooled scores' in `judgement`; `fold_logs` their logs.
    """

    title: str
    judgement: Judgement
    scores: pd.DataFrame
    phantom: bool = False
    log: pd.DataFrame | None = None
    environment: dict[str, object] = field(default_factory=dict)
    config: str = ""
    excluded: pd.DataFrame = field(default_factory=no_exclusions)
    warned: pd.DataFrame = field(default_factory=no_exclusions)
    parts: pd.DataFrame | None = None
    pictures: tuple[CasePicture, ...] = ()
    no_pictures: str = ""
    known_patients: tuple[str, ...] = ()
    folds: tuple[Judgement, ...] = ()
    fold_logs: tuple[pd.DataFrame, ...] = ()


def read_run_files(folder: Path) -> dict[str, Any]:
    """What a run folder says of itself: `environment`, `config` and `log`, as far as they are there."""
    found: dict[str, Any] = {"title": f"{folder.parent.name}, {folder.name}"}
    if (folder / ENVIRONMENT_FILE).is_file():
        found["environment"] = _read_environment(folder / ENVIRONMENT_FILE)
    if (folder / CONFIG_FILE).is_file():
        found["config"] = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    if (folder / "log.jsonl").is_file():
        found["log"] = read_log(folder / "log.jsonl")
    if is_cross_validation(folder):
        first = fold_folder(folder, 0) / ENVIRONMENT_FILE
        if first.is_file():  # the folds part the same films
            found["environment"] = {"data_sha256": _read_environment(first).get("data_sha256", "")} | dict(
                found.get("environment", {})
            )
        found["fold_logs"] = tuple(
            read_log(fold_folder(folder, fold) / "log.jsonl") for fold in range(read_folds(folder))
        )
    return found


def _read_environment(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise DataMissingError(f"{path}: is damaged ({error}); use another run") from error
