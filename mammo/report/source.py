"""Gathers all that a report shows: page, model card and checklist read nothing else."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo.cases.table import no_exclusions
from mammo.errors import DataMissingError
from mammo.evaluation.judge import Judgement, LevelResult
from mammo.evaluation.metrics import Metric
from mammo.files import read_json
from mammo.plots.learning import read_log
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE, fold_folders, is_cross_validation
from mammo.settings.load import load_settings
from mammo.settings.schema import EarlyStoppingSettings, Settings


@dataclass(frozen=True)
class CasePicture:
    """A case that was called wrongly: a JPEG with its box drawn. `mistake` is `false negative` or `false positive`."""

    case_id: str
    patient_id: str
    mistake: str
    score: float
    threshold: float
    about: str
    jpeg: bytes


@dataclass(frozen=True)
class ReportSource:
    """What a report shows.

    Attributes:
        title: What was judged.
        judgement: Its results; of a cross-validation, those of the pooled scores.
        scores: The table that was judged.
        phantom: Whether its films are generated.
        log: A row per epoch; None where no training belongs to the scores.
        environment: What the run's `environment.json` holds.
        settings: Those of the run; None for scores from outside.
        excluded: Has case, patient_id and reason.
        warned: The same of the cases that were used with a warning.
        parts: The audit's table of who is in which part.
        pictures: The hardest mistakes.
        no_pictures: Why there are none.
        known_patients: Those that the run had seen and that are judged here.
        folds: The judgement of each fold of a cross-validation.
        fold_logs: The log of each.
    """

    title: str
    judgement: Judgement
    scores: pd.DataFrame
    phantom: bool = False
    log: pd.DataFrame | None = None
    environment: dict[str, object] = field(default_factory=dict)
    settings: Settings | None = None
    excluded: pd.DataFrame = field(default_factory=no_exclusions)
    warned: pd.DataFrame = field(default_factory=no_exclusions)
    parts: pd.DataFrame | None = None
    pictures: tuple[CasePicture, ...] = ()
    no_pictures: str = ""
    known_patients: tuple[str, ...] = ()
    folds: tuple[Judgement, ...] = ()
    fold_logs: tuple[pd.DataFrame, ...] = ()

    @property
    def logs(self) -> tuple[pd.DataFrame, ...]:
        """The log of the run or those of its folds, as far as there are any."""
        return self.fold_logs or (() if self.log is None else (self.log,))

    @property
    def command(self) -> str:
        """Return the command that made the run, quoted for a shell; empty where it is not known."""
        command = self.environment.get("command")
        words = [str(word) for word in command] if isinstance(command, list) else []
        return shlex.join(["python", *words] if words and words[0].endswith(".py") else words)

    @property
    def packages(self) -> list[str]:
        """The packages of the run with their versions, as far as they are known."""
        packages = self.environment.get("packages")
        return [f"{name} {version}" for name, version in packages.items()] if isinstance(packages, dict) else []

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose network early stopping kept; None where the log does not have what it monitors."""
        stop = self.settings.training.early_stopping if self.settings else EarlyStoppingSettings()
        if self.log is None or stop.monitor not in self.log:
            return None
        sign, best, kept = 1.0 if stop.mode == "max" else -1.0, -np.inf, None
        for epoch, value in zip(self.log["epoch"], sign * self.log[stop.monitor].to_numpy(float), strict=True):
            if np.isfinite(value) and (kept is None or value > best + stop.min_delta):
                best, kept = value, int(epoch)
        return kept


def metrics_of(level: LevelResult) -> dict[str, Metric]:
    """Every metric of a level, at its main operating point, by the key of `settings/metrics.py`."""
    return level.ranking | {"auc_delong": level.delong} | level.main.metrics


def read_run_files(folder: Path) -> dict[str, Any]:
    """Read what a run folder says of the run: title, environment, settings and logs, as far as they are there.

    Raises:
        SettingsError: Its `config.yaml` is damaged.
        DataMissingError: Another file is damaged.
    """
    found: dict[str, Any] = {"title": f"{folder.parent.name}, {folder.name}"}
    if (folder / ENVIRONMENT_FILE).is_file():
        found["environment"] = _read_environment(folder / ENVIRONMENT_FILE)
    if (folder / CONFIG_FILE).is_file():
        found["settings"] = load_settings(folder / CONFIG_FILE)
    if (folder / "log.jsonl").is_file():
        found["log"] = read_log(folder / "log.jsonl")
    if is_cross_validation(folder):
        folds = list(fold_folders(folder).values())
        if (folds[0] / ENVIRONMENT_FILE).is_file():  # all folds have the same films
            data = _read_environment(folds[0] / ENVIRONMENT_FILE).get("data_sha256", "")
            found["environment"] = {"data_sha256": data} | found.get("environment", {})
        found["fold_logs"] = tuple(read_log(fold / "log.jsonl") for fold in folds)
    return found


def _read_environment(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except ValueError as error:
        raise DataMissingError(f"{path}: is damaged ({error}); use another run") from error
