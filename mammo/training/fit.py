"""The story of a run: settings → cases → split and audit → store → batches → network → weights → loop → best → judgement."""

import json
import logging
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mammo.cases.audit import audit_split
from mammo.cases.splits import Split, check_trainable
from mammo.cases.table import exclusion_lines
from mammo.config import dump_settings
from mammo.errors import TrainingError
from mammo.images.preprocess import PreprocessSettings
from mammo.inference.judge_run import decide, judge_part
from mammo.inference.judged import Judged
from mammo.model.checkpoint import load_network, read_checkpoint
from mammo.model.network import start_from_pretrained
from mammo.prepare.gather import PreparedSplit, check_split, gather_split, prepare_split
from mammo.progress import print_table
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE, make_run_folder, read_split_hash
from mammo.runtime import describe
from mammo.settings import Settings
from mammo.training.assemble import Loaders, make_loaders, make_network, make_tuner
from mammo.training.callbacks import EarlyStopping, EpochStart, FiniteCheck, PlateauOnMetric, ProgressDisplay, RecallMetric
from mammo.training.checkpointing import Checkpointer, restore
from mammo.training.logs import JsonLog, VisualDLLog
from mammo.training.schedule import Plateau
from mammo.training.trainer import FineTuner

logger = logging.getLogger(__name__)
PACKAGES = ("paddlepaddle", "paddlepaddle-gpu", "paddleclas", "numpy", "albumentations", "scikit-learn", "pydicom", "visualdl", "mammo")


@dataclass(frozen=True)
class RunResult:
    """Where a run lies, its best epoch (from 1) and monitored value there, and its test part, judged."""

    folder: Path
    best_epoch: int
    best_value: float
    judged: Judged


def fit(settings: Settings, name: str, *, resume: Path | None = None, into: Callable[[PreparedSplit], Path] | None = None) -> RunResult:
    """Train, keep the best, choose the threshold on validation, judge on test.

    Args:
        settings: All of them; the run's own, when it is resumed.
        name: Of the configuration; a new run's folder is `output/<name>/<time>`.
        resume: A run folder to go on with, from its `checkpoints/last`.
        into: Makes the folder of a new run instead, once all is ready to train.

    Raises:
        MammoError: Anything a user can mend, in one line.
    """
    split = gather_split(settings)
    check_split(settings, split)
    check_trainable(split, settings.training.batch_size)
    prepared = prepare_split(settings, split)
    check_trainable(prepared.split, settings.training.batch_size)
    show_parts(prepared.split)
    loaders = make_loaders(settings, prepared)

    network, backbone = make_network(settings)
    if not resume:
        report = start_from_pretrained(backbone, settings.model)
        logger.info("weights: %s", report.summary() if report else "none, random start")
    tuner = make_tuner(settings, network)

    folder = resume or (into(prepared) if into else make_run_folder(settings.output, name))
    logger.info("run folder: %s", folder)
    state = write_run_files(settings, folder, prepared, resume=resume is not None)
    stopping = train(settings, tuner, loaders, prepared, folder, about=state, resume=resume is not None)

    load_network(network, folder / "checkpoints" / "best")
    decision = decide(settings, prepared, network, folder)
    judgement, scores = judge_part(settings, prepared, network, folder, decision=decision)
    about = f"{folder.parent.name}, {folder.name}: test part"
    judged = Judged(folder, about, judgement, scores, folder, settings, prepared, prepared.split.samples.excluded)
    return RunResult(folder, stopping.best_epoch + 1, float(stopping.best or 0.0), judged)


def show_parts(split: Split) -> None:
    """Say who is in which part, and what was left out."""
    parts = audit_split(split).parts
    print_table("parts", list(parts.columns), parts.to_numpy().tolist())
    for line in exclusion_lines(split.samples.excluded):
        logger.info(line)


def train(
    settings: Settings, tuner: FineTuner, loaders: Loaders, prepared: PreparedSplit, folder: Path, *, about: dict[str, Any], resume: bool
) -> EarlyStopping:
    """Run the epochs that are left; returns what early stopping knows of the best."""
    training, cases = settings.training, prepared.split.samples.cases
    stopping = EarlyStopping(training.early_stopping)
    plateau = Plateau(training.schedule, training.early_stopping.mode)
    if resume:
        restore(tuner, stopping, plateau, folder / "checkpoints" / "last")
        read_checkpoint(folder / "checkpoints" / "best", groups=("network",))  # before hours of training, not after
        logger.info("resuming after epoch %d", tuner.epoch)
    left = training.epochs - tuner.epoch
    if left <= 0 or tuner.stop_training:
        return stopping
    metric = RecallMetric(loaders.scored, cases["label"].to_numpy(int), rule=settings.evaluation.operating_point)
    display = ProgressDisplay(training.epochs, len(loaders.sampler))
    callbacks = [
        EpochStart(
            loaders.dataset, loaders.sampler, seed=settings.seed, epochs=training.epochs, schedule=training.schedule, plateau=plateau
        ),
        FiniteCheck(cases["case_id"]),
        metric,
        stopping,
        PlateauOnMetric(plateau, training.early_stopping.monitor),
        JsonLog(folder / "log.jsonl"),
        VisualDLLog(folder / "visualdl", metric, loaders.dataset, histograms=training.log_histograms),
        display,
        Checkpointer(folder / "checkpoints", stopping, plateau, about=about),
    ]
    try:
        tuner.fit(loaders.train, epochs=left, accumulate_grad_batches=training.accumulate, callbacks=callbacks, verbose=0)
    finally:
        display.close()
    return stopping


def write_run_files(settings: Settings, folder: Path, prepared: PreparedSplit, *, resume: bool) -> dict[str, Any]:
    """Write config, split and environment of a new run; check a resumed run's split against its own.

    Raises:
        TrainingError: The data have changed since the run began.
    """
    split = prepared.split
    about = {
        "config": json.loads(settings.model_dump_json()),
        "preprocess": json.loads(PreprocessSettings.from_data(settings.data).model_dump_json()),
        "split_sha256": split.sha256,
        "versions": installed_versions(),
    }
    if resume:
        before = read_split_hash(folder)
        if before != split.sha256:
            raise TrainingError(
                f"{folder}: the cases or their parts have changed since this run began (its split.csv says which it had); start a new run"
            )
    (folder / CONFIG_FILE).write_text(dump_settings(settings), encoding="utf-8")
    if resume:
        return about
    split.frame().to_csv(folder / "split.csv", index=False)
    split.samples.excluded.to_csv(folder / "excluded.csv", index=False)
    write_environment(folder, {"split_sha256": split.sha256, "data_sha256": prepared.data_sha256})
    return about


def write_environment(folder: Path, hashes: dict[str, str]) -> None:
    """Write what made a run, and of what data: `environment.json`."""
    made = {"machine": describe(), "python": platform.python_version(), "packages": installed_versions()}
    (folder / ENVIRONMENT_FILE).write_text(json.dumps({"command": sys.argv} | hashes | made, indent=1), encoding="utf-8")


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
