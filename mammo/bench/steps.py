"""Measures real training steps: losses, speed beside paddle as it comes, and the time that commands take to start."""

import functools
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo.bench.measure import Finding, in_process, in_turns, limit, ratio, seconds
from mammo.cases.splits import Split
from mammo.model.network import start_from_pretrained
from mammo.prepare.gather import gather_split, prepare_split
from mammo.runtime import PLAIN_VARIABLE, select_device
from mammo.settings.load import dump_settings, load_settings
from mammo.settings.schema import Settings
from mammo.training.assemble import Loaders, make_loaders, make_network, make_tuner
from mammo.training.freezing import freeze_stages
from mammo.training.recipe import factor_at
from mammo.training.trainer import FineTuner

logger = logging.getLogger(__name__)
WARM_STEPS = 2
OURS, PLAIN = "with the runtime", "plain paddle"
HELP, FIRST_BATCH = "train --help", "training to its first batch"


@dataclass(frozen=True)
class Steps:
    """Losses of each step, and images per second over the steps after the first two."""

    losses: tuple[float, ...]
    images_per_s: float


def run_steps(settings: Settings, steps: int, *, cases: int = 0) -> Steps:
    """Train for some steps on a run's own batches.

    Args:
        settings: As for training; stages are not frozen, and the learning rate follows the schedule of `steps` steps.
        steps: At least three.
        cases: Train on the first so many training cases only, over and over; 0 for all.

    Raises:
        MammoError: As training would.
    """
    tuner, loaders = _assembled(settings, cases)
    losses: list[float] = []
    start = time.perf_counter()
    while len(losses) < steps:
        loaders.dataset.epoch = loaders.sampler.epoch = loaders.sampler.epoch + 1
        for batch in loaders.train:
            factor = factor_at(len(losses), steps_per_epoch=steps, epochs=1, settings=settings.training.schedule)
            tuner.optimizer.set_lr(settings.training.optimizer.learning_rate * factor)
            losses.append(tuner.train_batch(batch[:2], batch[2:])[0])
            if len(losses) == WARM_STEPS:
                start = time.perf_counter()
            if len(losses) == steps:
                break
    took = time.perf_counter() - start
    return Steps(tuple(losses), (steps - WARM_STEPS) * settings.training.batch_size / took)


def _assembled(settings: Settings, cases: int = 0) -> tuple[FineTuner, Loaders]:
    """Assemble a training as `fit` does."""
    split = gather_split(settings)
    prepared = prepare_split(settings, _fewer(split, cases) if cases else split)
    network, backbone = make_network(settings)
    loaders = make_loaders(settings, prepared, network)
    report = start_from_pretrained(backbone, settings.model)
    logger.info("weights: %s", report.summary() if report else "none, random start")
    tuner = make_tuner(settings, network)
    tuner.epoch = max(settings.training.freeze.until_epoch, default=0)
    freeze_stages(network, settings.training.freeze, tuner.epoch)
    return tuner, loaders


def _fewer(split: Split, cases: int) -> Split:
    chosen = np.zeros(len(split.samples), bool)
    chosen[split.rows("train")[:cases]] = True
    chosen[split.rows("validation")] = True
    return Split(split.samples.keep(chosen, "not in the benchmark"), split.part[chosen])


def loss_fall(losses: tuple[float, ...]) -> float:
    """How much lower the mean of the last ten losses is than that of the first ten, as a share."""
    return 1 - float(np.mean(losses[-10:]) / np.mean(losses[:10]))


def bench_train(settings: Settings, steps: int, rounds: int) -> Finding:
    """Measure a run's own steps with the runtime's environment and with paddle's own, in fresh processes, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        config = write_settings(settings, Path(folder) / "bench.yaml")
        speed = functools.partial(in_process, steps_per_s, str(config), steps)
        ours, plain = (own_environment(plain=plain) for plain in (False, True))
        what = {OURS: lambda: speed(environment=ours), PLAIN: lambda: speed(environment=plain)}
        measured = in_turns(what, rounds, "images/s")
    height, width = settings.data.image_size
    title = f"training steps, {settings.model.backbone}, {height}×{width} px, batch {settings.training.batch_size}"
    compared = ratio(measured[OURS], measured[PLAIN], name="runtime / plain")
    return Finding(title, tuple(measured.values()), (compared,))


def steps_per_s(config: str, steps: int) -> float:
    """Train for some steps by a settings file; returns images per second."""
    return run_steps(_settings_on_device(config), steps).images_per_s


def own_environment(*, plain: bool) -> dict[str, str]:
    """Give the environment of a process that sets threads and BLAS path anew, or, `plain`, leaves them to paddle."""
    chosen = {"OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"}
    environment = {key: value for key, value in os.environ.items() if key not in chosen}
    return environment | ({PLAIN_VARIABLE: "1"} if plain else {})


def bench_start(settings: Settings, rounds: int) -> Finding:
    """Measure how long the command `train` takes to its help, and to its first batch of prepared data."""
    prepare_split(settings, gather_split(settings))
    line = [sys.executable, "-m", "mammo", "train", "--help"]
    with tempfile.TemporaryDirectory() as folder:
        config = write_settings(settings, Path(folder) / "bench_start.yaml")
        what = {
            HELP: lambda: seconds(lambda: subprocess.run(line, check=True, stdout=subprocess.DEVNULL)),
            FIRST_BATCH: lambda: _seconds_to_first_batch(config),
        }
        measured = in_turns(what, rounds, "s")
    bars = limit(measured[HELP], "<= 0.3"), limit(measured[FIRST_BATCH], "<= 6")
    return Finding("command start", tuple(measured.values()), bars)


def _seconds_to_first_batch(config: Path) -> float:
    """Measure from the start of a Python process to the end of its first training step."""
    start = time.time()
    return float(in_process(first_batch_at, str(config)) - start)


def first_batch_at(config: str) -> float:
    """Load what a training loads and take one step; returns the time of its end, in seconds of `time.time`."""
    import mammo.training.folds  # noqa: F401

    tuner, loaders = _assembled(_settings_on_device(config))
    batch = next(iter(loaders.train))
    tuner.train_batch(batch[:2], batch[2:])
    return time.time()


def _settings_on_device(config: str) -> Settings:
    settings = load_settings(Path(config))
    select_device(settings.device)
    return settings


def write_settings(settings: Settings, path: Path) -> Path:
    """Write settings to a file; returns its path."""
    path.write_text(dump_settings(settings), encoding="utf-8")
    return path
