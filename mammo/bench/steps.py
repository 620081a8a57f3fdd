"""Measures training steps, of a run and of partly frozen networks, the loader, and how long commands take to start."""

import functools
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from mammo.bench.measure import Finding, in_process, in_turns, limit, per_second, ratio, seconds
from mammo.bench.torch_steps import torch_images_per_s
from mammo.cases.splits import Split
from mammo.data.dataset import MammogramDataset
from mammo.data.loader import Loader
from mammo.data.sampler import EpochSampler
from mammo.model.network import start_from_pretrained
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.runtime import PLAIN_VARIABLE, amd_blas_path, paddle, select_device, thread_count
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
BATCH, SIZE_PX = 8, 224
FULL, FULL_PLAIN, TORCH = "full step", "full step, plain paddle", "PyTorch, channels last"
TWO, TWO_KEPT = "two stages frozen, first epoch", "two stages frozen, features kept"
HEAD, HEAD_KEPT = "head alone, first epoch", "head alone, features kept"
LEAST_S = 4.0
WORKERS, LOADER_BATCH = 2, 16
BATCHES = 60  # of the loader's epoch, at least
CROPS, FILMS = "crops 224×224", "whole films 1152×896"
AUGMENTATION = [
    {"name": "flip_horizontal"},
    {"name": "affine", "p": 1.0, "rotate_deg": 25, "shear_deg": 10, "zoom": (0.8, 1.2), "shift": 0.05},
    {"name": "intensity", "p": 0.5},
]


@dataclass(frozen=True)
class Steps:
    """Losses of each step, and images per second over the steps after the first two."""

    losses: tuple[float, ...]
    images_per_s: float


def run_steps(settings: Settings, steps: int, *, cases: int = 0) -> Steps:
    """Train for some steps, at least three, on a run's own batches, or (not 0) on its first `cases` training cases.

    Stages are not frozen, and the learning rate follows the schedule of `steps` steps.

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
        ours, plain = (_own_environment(plain=plain) for plain in (False, True))
        what = {OURS: lambda: speed(environment=ours), PLAIN: lambda: speed(environment=plain)}
        measured = in_turns(what, rounds, "images/s")
    height, width = settings.data.image_size
    title = f"training steps, {settings.model.backbone}, {height}×{width} px, batch {settings.training.batch_size}"
    compared = ratio(measured[OURS], measured[PLAIN], name="runtime / plain")
    return Finding(title, tuple(measured.values()), (compared,))


def steps_per_s(config: str, steps: int) -> float:
    """Train for some steps by a settings file; returns images per second."""
    return run_steps(_settings_on_device(config), steps).images_per_s


def _own_environment(*, plain: bool) -> dict[str, str]:
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


def bench_finetune(rounds: int, backbone: str = "ResNet50_vd") -> Finding:
    """Measure all in turns, on batches of `BATCH` random images of `SIZE_PX` pixels, with random weights."""
    full, two = _tuner(backbone, 0), _tuner(backbone, 2)
    head = _tuner(backbone, len(full.network.stages))
    image = _images()
    what: dict[str, Callable[[], float]] = {
        FULL: functools.partial(_tuner_speed, full, image),
        TWO: functools.partial(_tuner_speed, two, image),
        TWO_KEPT: functools.partial(_tuner_speed, two, _features(two, image)),
        HEAD: functools.partial(_tuner_speed, head, image),
        HEAD_KEPT: functools.partial(_tuner_speed, head, _features(head, image)),
    }
    if find_spec("torch"):
        what[TORCH] = lambda: in_process(torch_images_per_s, BATCH, SIZE_PX, thread_count(), LEAST_S)
    what[FULL_PLAIN] = lambda: in_process(full_steps_per_s, backbone, environment=_own_environment(plain=True))
    measured = in_turns(what, rounds, "images/s")
    bars = {TWO: "", TWO_KEPT: ">= 1.6", HEAD: "", HEAD_KEPT: ">= 25"}
    ratios = [ratio(measured[name], measured[FULL], bar) for name, bar in bars.items()]
    bar = ">= 4" if amd_blas_path() else ""  # paddle as it comes is slow on AMD processors
    ratios.append(ratio(measured[FULL], measured[FULL_PLAIN], bar, name=f"{FULL} / plain paddle"))
    if TORCH in measured:
        ratios.append(ratio(measured[FULL], measured[TORCH], ">= 0.95"))
    title = f"fine-tuning, {backbone}, {SIZE_PX} px, batch {BATCH}, {thread_count()} threads"
    return Finding(title, tuple(measured.values()), tuple(ratios))


def full_steps_per_s(backbone: str) -> float:
    """Measure full steps in this process; returns images per second."""
    return _tuner_speed(_tuner(backbone, 0), _images())


def _images() -> np.ndarray:
    """Draw a batch, float32 [BATCH, 1, 1, SIZE_PX, SIZE_PX]."""
    return np.random.default_rng(0).normal(size=(BATCH, 1, 1, SIZE_PX, SIZE_PX)).astype(np.float32)


def _tuner(backbone: str, frozen: int) -> FineTuner:
    model = {"backbone": backbone, "pretrained": "none"}
    training = {"batch_size": BATCH, "freeze": {"until_epoch": (1,) * frozen}}
    settings = Settings.model_validate({"model": model, "training": training})
    network, _ = make_network(settings)
    tuner = make_tuner(settings, network)
    freeze_stages(network, settings.training.freeze, 0)
    return tuner


def _features(tuner: FineTuner, image: np.ndarray) -> np.ndarray:
    """Compute what the frozen stages give, as a training keeps it."""
    return tuner.network.embed(paddle.to_tensor(image)).numpy()


def _tuner_speed(tuner: FineTuner, image: np.ndarray) -> float:
    """Measure steps on one batch: of images, which pass the frozen stages in every step, or of their features."""
    labels = paddle.to_tensor(np.eye(2, dtype=np.float32)[np.arange(BATCH) % 2])
    present = paddle.ones([BATCH, 1], dtype="bool")

    def step() -> None:
        tuner.train_batch([paddle.to_tensor(image), present], [labels, paddle.ones([BATCH]), paddle.arange(BATCH)])

    return per_second(step, BATCH, LEAST_S)


def bench_loader(rounds: int) -> Finding:
    """Measure crops and films in turns; both are generated, prepared once, and read from the store as in training."""
    data: dict[str, dict[str, Any]] = {
        CROPS: {"task": "lesion", "image_size": (224, 224), "phantom": {"patients": 60, "film_size": (768, 576)}},
        FILMS: {"task": "image", "image_size": (1152, 896), "phantom": {"patients": 16, "film_size": (1400, 1088)}},
    }
    values = {"augmentation": AUGMENTATION, "training": {"batch_size": LOADER_BATCH}}
    with tempfile.TemporaryDirectory() as folder:
        what = {}
        for name, one in data.items():
            films = {"output": Path(folder) / one["task"], "data": {"kind": "phantom", "split": "holdout", **one}}
            settings = Settings.model_validate(values | films)
            prepared = prepare_split(settings, gather_split(settings))
            what[name] = functools.partial(_loader_speed, settings, prepared)
        measured = in_turns(what, rounds, "images/s")
    bars = limit(measured[CROPS], ">= 250"), limit(measured[FILMS], ">= 40")
    title = f"loader, {WORKERS} workers, flips, affine and intensity, batch {LOADER_BATCH}"
    return Finding(title, tuple(measured.values()), bars)


def _loader_speed(settings: Settings, prepared: PreparedSplit) -> float:
    """Load epochs for some seconds, without the wait for each epoch's first batch."""
    rows = prepared.split.rows("train")
    # Long epochs, so that what the workers load ahead during the first batch is a small part.
    rows = np.tile(rows, -(-BATCHES * LOADER_BATCH // len(rows)))
    cases = prepared.split.samples.cases.iloc[rows]
    labels, patients = cases["label"].to_numpy(int), cases["patient_id"].to_numpy(str)
    dataset = MammogramDataset(prepared, rows, settings=settings, channels=1, augmentation=settings.augmentation)
    sampler = EpochSampler(labels, patients, batch_size=LOADER_BATCH, seed=0)
    seen, spent = 0, 0.0
    while spent < LEAST_S:
        sampler.epoch = dataset.epoch = sampler.epoch + 1
        batches = iter(Loader(dataset, workers=WORKERS, batch_sampler=sampler))
        next(batches)
        start = time.perf_counter()
        seen += sum(len(batch[4]) for batch in batches)
        spent += time.perf_counter() - start
    return seen / spent
