"""The story of a run: settings → cases → split and audit → store → batches → network → weights → loop → best → judgement."""

import json
import logging
import platform
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mammo.cases.audit import audit_split
from mammo.cases.splits import Split, check_trainable
from mammo.cases.table import exclusion_lines, warning_lines
from mammo.errors import LoaderError, Stopped, plain_stops
from mammo.files import Lock, write_text, written_beside
from mammo.images.preprocess import PreprocessSettings
from mammo.inference.score import score_part
from mammo.judging.judged import Judged
from mammo.judging.part import decide, judge_logits
from mammo.model.checkpoint import Checkpoint, load_network
from mammo.model.network import start_from_pretrained
from mammo.prepare.early import check_places, check_writable
from mammo.prepare.gather import PreparedSplit, check_split, gather_split, prepare_split
from mammo.progress import print_table
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE, curves_folder, make_run_folder, point_latest_at, writing
from mammo.runtime import describe
from mammo.settings.load import dump_settings
from mammo.settings.schema import Settings
from mammo.training.assemble import Loaders, make_loaders, make_network, make_tuner
from mammo.training.callbacks import (
    EarlyStopping,
    FiniteCheck,
    PlateauOnMetric,
    ProgressDisplay,
    RecallMetric,
    StepStart,
)
from mammo.training.checkpointing import Checkpointer
from mammo.training.distributed import World
from mammo.training.logs import JsonLog, VisualDLLog
from mammo.training.resuming import mend_best, open_run, refuse_other_data
from mammo.training.run_state import Keeper, put_back
from mammo.training.schedule import Plateau
from mammo.training.signals import StopSignals
from mammo.training.trainer import FineTuner
from mammo.training.wait_clock import WaitClock

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


@dataclass(frozen=True)
class RunResult:
    """Where a run lies, its best epoch (from 1) and monitored value there, and its test part, judged."""

    folder: Path
    best_epoch: int
    best_value: float
    judged: Judged


def fit(
    settings: Settings,
    name: str,
    *,
    resume: Path | None = None,
    into: Callable[[PreparedSplit], Path] | None = None,
    world: World | None = None,
) -> RunResult | None:
    """Train, keep the best, choose the threshold on validation, judge on test.

    Args:
        settings: All of them; the run's own, when it is resumed.
        name: Of the configuration; a new run's folder is `output/<name>/<time>`.
        resume: A run folder to go on with, from its `checkpoints/last`.
        into: Makes the folder of a new run instead, once all is ready to train.
        world: The processes that train it together; none for one alone.

    Returns:
        What came of it, in the first of the processes; None in the others.

    Raises:
        MammoError: Anything a user can mend, in one line.
    """
    world = world or World()
    with ExitStack() as stack:
        about = describe_run(settings)
        check_writable(settings.output, "output")
        check_places(settings)
        lock = stack.enter_context(writing(resume)) if resume and world.is_first else None
        begun = open_in_turn(resume, settings, about, world) if resume else None
        # Network and weights before films: what is wrong with them is known in seconds.
        network, backbone = make_network(settings, world)
        if not begun:
            report = start_from_pretrained(backbone, settings.model)
            logger.info("weights: %s", report.summary() if report else "none, random start")
        tuner = make_tuner(settings, network, world)
        prepared = prepare(settings)
        loaders = make_loaders(settings, prepared, network, world)

        folder = resume
        if not folder and world.is_first:
            folder = into(prepared) if into else make_run_folder(settings.output, name)
            lock = stack.enter_context(writing(folder))
        folder = Path(world.from_first(str(folder)))
        stack.enter_context(saying_how_to_go_on(folder))
        logger.info("run folder: %s", folder)
        if world.is_first:
            write_run_files(settings, folder, prepared, begun=begun)
            if not resume and not into:
                point_latest_at(settings.output, folder)
        about |= {"split_sha256": prepared.split.sha256, "data_sha256": prepared.data_sha256}
        stopping = train(settings, tuner, loaders, prepared, folder, lock=lock, about=about, begun=begun)
        if not world.is_first:
            return None

        load_network(network, folder / "checkpoints" / "best")
        decision = decide(settings, prepared, network, folder)
        scores = score_part(settings, prepared, network, part="test", model_id=folder.name)
        judgement, scores = judge_logits(scores, settings, folder, decision=decision)
    told = f"{folder.parent.name}, {folder.name}: test part"
    samples = prepared.split.samples
    judged = Judged(folder, told, judgement, scores, folder, settings, prepared, samples.excluded, samples.warned)
    return RunResult(folder, stopping.best_epoch + 1, float(stopping.best or 0.0), judged)


def open_in_turn(folder: Path, settings: Settings, about: dict[str, Any], world: World) -> Checkpoint | None:
    """Read the checkpoint to go on from: the first process before the others, since it puts a damaged one right."""
    begun = open_run(folder, settings, about=about) if world.is_first else None
    world.from_first(None)
    return begun if world.is_first else open_run(folder, settings, about=about)


def prepare(settings: Settings) -> PreparedSplit:
    """Find the cases, hold that they can be learnt from, and fill the store."""
    split = gather_split(settings)
    check_split(settings, split)
    check_trainable(split, settings.training.batch_size)
    prepared = prepare_split(settings, split)
    check_trainable(prepared.split, settings.training.batch_size)
    show_parts(prepared.split)
    return prepared


@contextmanager
def saying_how_to_go_on(folder: Path) -> Iterator[None]:
    """Give whoever stops the block the command that goes on with the run."""
    try:
        with plain_stops():
            yield
    except KeyboardInterrupt as stop:
        number = stop.number if isinstance(stop, Stopped) else signal.SIGINT
        raise Stopped(number, f"go on with: python tools/train.py --resume {shlex.quote(str(folder))}") from None


def show_parts(split: Split) -> None:
    """Say who is in which part, and what was left out."""
    parts = audit_split(split).parts
    print_table("parts", list(parts.columns), parts.to_numpy().tolist())
    for line in (*exclusion_lines(split.samples.excluded), *warning_lines(split.samples.warned)):
        logger.info(line)


def train(
    settings: Settings,
    tuner: FineTuner,
    loaders: Loaders,
    prepared: PreparedSplit,
    folder: Path,
    *,
    lock: Lock | None,
    about: dict[str, Any],
    begun: Checkpoint | None = None,
) -> EarlyStopping:
    """Run the epochs that are left; returns what early stopping knows of the best.

    Raises:
        Stopped: A signal asked for it; all that was learnt is saved.
    """
    training, cases = settings.training, prepared.split.samples.cases
    stopping = EarlyStopping(training.early_stopping)
    plateau = Plateau(training.schedule, training.early_stopping.mode)
    signals = StopSignals()
    rule, labels = settings.evaluation.operating_point, cases["label"].to_numpy(int)
    metric = RecallMetric(loaders.scored, labels, cases["case_id"], rule=rule, signals=signals)
    keepers: dict[str, Keeper] = {"stopping": stopping, "plateau": plateau, "losses": metric}
    writers = Writers(settings, folder, metric, loaders) if tuner.world.is_first else None
    keepers |= writers.keepers if writers else {}
    if begun:
        put_back(tuner, keepers, begun)
        tuner.stop_training = stopping.waited >= training.early_stopping.patience  # which may be another now
        if writers:
            mend_best(begun, tuner, stopping, training.early_stopping.monitor)
        stopping.restore(tuner.world.from_first(stopping.state()))
        logger.info("resuming at epoch %d, after step %d of it", tuner.epoch + 1, tuner.batch)
    elif writers:
        writers.begin_anew()
    left = training.epochs - tuner.epoch
    if left <= 0 or tuner.stop_training:
        return stopping
    start = StepStart(
        loaders.dataset,
        loaders.sampler,
        seed=settings.seed,
        epochs=training.epochs,
        schedule=training.schedule,
        plateau=plateau,
        lock=lock,
    )
    saver = Checkpointer(
        folder / "checkpoints", training.checkpoint, stopping, keepers, signals=signals, about=about, world=tuner.world
    )
    callbacks = [
        start,
        FiniteCheck(cases["case_id"]),
        metric,
        stopping,
        PlateauOnMetric(plateau, training.early_stopping.monitor),
    ]
    callbacks += [*writers.callbacks, saver, writers.clock] if writers else [saver]
    with signals, writers or nullcontext(), saved_when_stopped(saver, signals):
        tuner.fit(
            loaders.train, epochs=left, accumulate_grad_batches=training.accumulate, callbacks=callbacks, verbose=0
        )
    return stopping


class Writers(AbstractContextManager):
    """What the first of the processes writes and shows of each epoch: the log, VisualDL's files and the progress display."""

    def __init__(self, settings: Settings, folder: Path, metric: RecallMetric, loaders: Loaders) -> None:
        training = settings.training
        self.clock = WaitClock()
        self._log = JsonLog(folder / "log.jsonl", self.clock)
        self._pictures = VisualDLLog(
            curves_folder(settings.output, folder), metric, loaders.dataset, histograms=training.log_histograms
        )
        self._display = ProgressDisplay(training.epochs, loaders.sampler.batches, self.clock)
        self.keepers: dict[str, Keeper] = {"log": self._log, "visualdl": self._pictures}
        self.callbacks = (self._log, self._pictures, self._display)

    def begin_anew(self) -> None:
        """Drop what a run that was stopped before it saved anything has written."""
        self._log.restore({"bytes": 0})
        self._pictures.restore({"bytes": 0})

    def __exit__(self, *_: object) -> None:
        with closing(self._display), closing(self._pictures):
            pass


@contextmanager
def saved_when_stopped(saver: Checkpointer, signals: StopSignals) -> Iterator[None]:
    """Save the run when a signal ends the block, or a loader does, whose workers the same signal may have ended."""
    try:
        with plain_stops():
            yield
    except Stopped:
        if not signals.impatient:
            saver.save()
        raise
    except LoaderError:
        saver.save()
        if signals.asked is not None:
            raise Stopped(signals.asked) from None
        raise


def describe_run(settings: Settings) -> dict[str, Any]:
    """What a checkpoint says of the run it belongs to, beside the split: settings, versions and machine."""
    return {
        "config": json.loads(settings.model_dump_json()),
        "preprocess": json.loads(PreprocessSettings.from_data(settings.data).model_dump_json()),
        "versions": installed_versions(),
        "machine": describe(),
    }


def write_run_files(
    settings: Settings, folder: Path, prepared: PreparedSplit, *, begun: Checkpoint | None = None
) -> None:
    """Write config, split and environment of a new run; check a resumed run's data against its own.

    Raises:
        TrainingError: The data have changed since the run began.
    """
    resumed = (folder / ENVIRONMENT_FILE).is_file()
    if begun or resumed:
        refuse_other_data(folder, prepared, begun.state if begun else None)
    write_text(folder / CONFIG_FILE, dump_settings(settings))
    if resumed:
        return
    samples = prepared.split.samples
    for name, frame in (
        ("split.csv", prepared.split.frame()),
        ("excluded.csv", samples.excluded),
        ("warnings.csv", samples.warned),
    ):
        with written_beside(folder / name) as beside:
            frame.to_csv(beside, index=False)
    write_environment(folder, {"split_sha256": prepared.split.sha256, "data_sha256": prepared.data_sha256})


def write_environment(folder: Path, hashes: dict[str, str]) -> None:
    """Write what made a run, and of what data: `environment.json`."""
    made = {"machine": describe(), "python": platform.python_version(), "packages": installed_versions()}
    write_text(folder / ENVIRONMENT_FILE, json.dumps({"command": sys.argv} | hashes | made, indent=1))


def installed_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on, as far as they are installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
