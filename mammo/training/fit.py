"""Trains one run: checks, network, weights, cases, split, store, batches, epochs, best network, judgement."""

import contextlib
import json
import logging
import platform
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mammo.cases.audit import audit_split
from mammo.cases.splits import Split, check_trainable
from mammo.cases.table import exclusion_lines, warning_lines
from mammo.data.auxiliary import check_known
from mammo.errors import SettingsError, SplitError, advising, few_of
from mammo.files import write_text, written_beside
from mammo.inference.score import score_part
from mammo.judging.judged import Judged, find_known_patients
from mammo.judging.run_folder import decide, decide_out_of_fold, judge_logits
from mammo.model.checkpoint import Checkpoint, read_checkpoint, set_network
from mammo.model.network import MammogramNet, start_from_pretrained
from mammo.prepare.gather import PreparedSplit, check_split, gather_split, prepare_split
from mammo.prepare.readers import check_places, check_writable
from mammo.progress import print_table
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE, command_line, make_run_folder, point_latest_at, writing
from mammo.runtime import describe
from mammo.settings.load import dump_settings
from mammo.settings.schema import Settings
from mammo.training.assemble import make_loaders, make_network, make_tuner
from mammo.training.callbacks import RunCallbacks
from mammo.training.distributed import ALONE, World
from mammo.training.resuming import open_run, refuse_other_data

logger = logging.getLogger(__name__)
PACKAGES = (
    "paddlepaddle",
    "paddlepaddle-gpu",
    "paddleclas",
    "numpy",
    "albumentations",
    "scikit-learn",
    "pydicom",
    "visualdl",
    "mammo",
)


def fit(
    settings: Settings,
    name: str,
    *,
    resume: Path | None = None,
    into: Callable[[PreparedSplit], Path] | None = None,
    world: World = ALONE,
) -> Judged | None:
    """Train, keep the best network, choose the threshold on validation, and judge on test.

    Args:
        settings: All settings; the run's own, when it is resumed.
        name: Of the configuration; a new run's folder is `output/<name>/<time>`.
        resume: A run folder to go on with, from its `checkpoints/last`.
        into: Makes the folder of a new run instead, once all is ready to train.
        world: The processes that train together.

    Returns:
        The judged test part, in the first of the processes; None in the others, and of a run on all cases.

    Raises:
        MammoError: Anything that a user can correct, in one line.
    """
    _check_has_parts(settings, resume or into)
    with ExitStack() as stack:
        check_writable(settings.output, "output")
        check_places(settings)
        about: dict[str, Any] = {"config": settings.model_dump(mode="json")}
        about |= {"versions": installed_versions(), "machine": describe()}
        lock = stack.enter_context(writing(resume)) if resume and world.is_first else None
        checkpoint = _open_in_turn(resume, settings, about, world) if resume else None
        # Network and weights before films: what is wrong with them is known in seconds.
        network, backbone = make_network(settings, world)
        if not checkpoint:
            report = start_from_pretrained(backbone, settings.model)
            logger.info("weights: %s", report.summary() if report else "none, random start")
        tuner = make_tuner(settings, network, world)
        prepared = _prepare(settings)
        hashes = {"split_sha256": prepared.split.sha256, "data_sha256": prepared.data_sha256}
        loaders = make_loaders(settings, prepared, network, world)

        folder = resume
        if not folder and world.is_first:
            folder = into(prepared) if into else make_run_folder(settings.output, name)
            lock = stack.enter_context(writing(folder))
        folder = Path(world.from_first(str(folder)))
        stack.enter_context(naming_resume_command(folder))
        logger.info("run folder: %s", folder)
        if world.is_first:
            _write_run_files(settings, folder, prepared, hashes, checkpoint=checkpoint)
            if not resume and not into:
                point_latest_at(settings.output, folder)
        about |= {"preprocess": prepared.store.settings.model_dump(mode="json")} | hashes
        callbacks = RunCallbacks(settings, tuner, loaders, folder, lock=lock, about=about)
        callbacks.run_epochs(checkpoint)
        if not world.is_first:
            return None

        set_network(network, read_checkpoint(folder / "checkpoints" / "best", groups=("network",)))
        judged = _judge(settings, prepared, network, folder)
    monitor, stopping = settings.training.early_stopping.monitor, callbacks.stopping
    if judged:
        best = stopping.best or 0.0
        logger.info("best epoch %d: %s %.3f (used for selection)", stopping.best_epoch + 1, monitor, best)
    return judged


def _check_has_parts(settings: Settings, begun: object) -> None:
    if settings.data.split == "all" and not begun:
        advice = "cross-validate first (--folds 5), then mammo train --on-all names the folder of the folds"
        raise SettingsError(f"data.split: all leaves no part to choose the epoch and the thresholds on; {advice}")


def _judge(settings: Settings, prepared: PreparedSplit, network: MammogramNet, folder: Path) -> Judged | None:
    """Choose the threshold on validation, and judge on test; a run on all cases decides by its folds alone."""
    if settings.data.split == "all":
        decide_out_of_fold(settings, folder, split=prepared.split.sha256)
        return None
    decision = decide(settings, prepared, network, folder)
    scores = score_part(settings, prepared, network, part="test", model_id=folder.name)
    judgement, scores = judge_logits(scores, settings, folder, decision=decision)
    title, samples = f"{folder.parent.name}, {folder.name}: test part", prepared.split.samples
    return Judged(folder, title, judgement, scores, folder, settings, prepared, samples.excluded, samples.warned)


def _open_in_turn(folder: Path, settings: Settings, about: dict[str, Any], world: World) -> Checkpoint | None:
    """Read the checkpoint to go on from: the first process before the others, since it replaces a damaged one."""
    checkpoint = open_run(folder, settings, about=about) if world.is_first else None
    world.from_first(None)
    return checkpoint if world.is_first else open_run(folder, settings, about=about)


def _prepare(settings: Settings) -> PreparedSplit:
    """Find the cases, check that they can be learnt from, fill the store, and show the parts."""
    split = gather_split(settings)
    check_split(settings, split)
    batch_size, on_all = settings.training.batch_size, settings.data.split == "all"
    check_trainable(split, batch_size, on_all=on_all)
    _refuse_learnt(settings, split)
    check_known(split.samples.cases, settings.training.auxiliary)
    prepared = prepare_split(settings, split)
    check_trainable(prepared.split, batch_size, on_all=on_all)
    parts, samples = audit_split(prepared.split).parts, prepared.split.samples
    print_table("parts", list(parts.columns), parts.to_numpy().tolist())
    for line in (*exclusion_lines(samples.excluded), *warning_lines(samples.warned)):
        logger.info(line)
    return prepared


def _refuse_learnt(settings: Settings, split: Split) -> None:
    """Check that no case which chooses or judges is of a patient whom the run that this one starts from learnt from.

    Raises:
        SplitError: The patients are named.
    """
    start = Path(settings.model.pretrained)
    if not (start / "split.csv").is_file():
        return
    judging = split.samples.cases[split.part != "train"]
    known, _ = find_known_patients([start], judging)
    if known:
        what = f"{len(known)} patients of validation and test are patients of whom {start} learnt ({few_of(known)})"
        advice = "start from a run of the same split and fold, or from other weights"
        raise SplitError(f"model.pretrained leaks: {what}; {advice}")


@contextmanager
def naming_resume_command(folder: Path) -> Iterator[None]:
    """When the block is stopped, name the command that goes on with the run."""
    with advising(f"go on with: mammo train --resume {shlex.quote(str(folder))}"):
        yield


def _write_run_files(
    settings: Settings, folder: Path, prepared: PreparedSplit, hashes: dict[str, str], *, checkpoint: Checkpoint | None
) -> None:
    """Write config, split and environment of a new run; check a resumed run's data against its own."""
    resumed = (folder / ENVIRONMENT_FILE).is_file()
    if checkpoint or resumed:
        refuse_other_data(folder, prepared, checkpoint.state if checkpoint else None)
    write_text(folder / CONFIG_FILE, dump_settings(settings))
    if resumed:
        return
    excluded, warned = prepared.split.samples.excluded, prepared.split.samples.warned
    tables = {"split.csv": prepared.split.frame(), "excluded.csv": excluded, "warnings.csv": warned}
    for name, frame in tables.items():
        with written_beside(folder / name) as beside:
            frame.to_csv(beside, index=False)
    write_environment(folder, hashes)


def write_environment(folder: Path, hashes: dict[str, str]) -> None:
    """Write `environment.json`: the command, versions and machine of a run, and the hashes of its data."""
    made = {"machine": describe(), "python": platform.python_version(), "packages": installed_versions()}
    write_text(folder / ENVIRONMENT_FILE, json.dumps({"command": command_line()} | hashes | made, indent=1))


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, where they are installed."""
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
