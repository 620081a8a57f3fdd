"""A run folder and its judgement in, all that a report tells out, in one piece: pages and cards read nothing else."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mammo.errors import DataMissingError
from mammo.evaluation.judge import Judgement
from mammo.report.curves import read_log
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE


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
    case_id, patient_id and reason. `parts` is the audit's table of who is in which part. `no_pictures` says why there are none.
    `folds` are the judgements of each fold of a cross-validation, with the pooled scores' in `judgement`.
    """

    title: str
    judgement: Judgement
    scores: pd.DataFrame
    phantom: bool = False
    log: pd.DataFrame | None = None
    environment: dict[str, object] = field(default_factory=dict)
    config: str = ""
    excluded: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["case_id", "patient_id", "reason"]))
    parts: pd.DataFrame | None = None
    pictures: tuple[CasePicture, ...] = ()
    no_pictures: str = ""
    known_patients: tuple[str, ...] = ()
    folds: tuple[Judgement, ...] = ()


def read_run_files(folder: Path) -> dict[str, object]:
    """What a run folder says of itself: `environment`, `config` and `log`, as far as they are there."""
    found: dict[str, object] = {"title": f"{folder.parent.name}, {folder.name}"}
    if (folder / ENVIRONMENT_FILE).is_file():
        try:
            found["environment"] = json.loads((folder / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataMissingError(f"{folder / ENVIRONMENT_FILE}: is damaged ({error}); use another run") from error
    if (folder / CONFIG_FILE).is_file():
        found["config"] = (folder / CONFIG_FILE).read_text(encoding="utf-8")
    if (folder / "log.jsonl").is_file():
        found["log"] = read_log(folder / "log.jsonl")
    return found
