"""Measures training steps with frozen stages and of the head alone beside full steps, and PyTorch's if installed."""

import functools
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from mammo.bench.measure import Finding, in_process, in_turns, per_second, ratio
from mammo.bench.steps import own_environment
from mammo.bench.torch_steps import torch_images_per_s
from mammo.runtime import amd_blas_path, paddle, thread_count
from mammo.settings.schema import FreezeSettings, ModelSettings, Settings, TrainingSettings
from mammo.training.assemble import make_network, make_tuner
from mammo.training.freezing import freeze_stages
from mammo.training.trainer import FineTuner

BATCH, SIZE_PX = 8, 224
FULL, PLAIN, TORCH = "full step", "full step, plain paddle", "PyTorch, channels last"
TWO, TWO_KEPT = "two stages frozen, first epoch", "two stages frozen, features kept"
HEAD, HEAD_KEPT = "head alone, first epoch", "head alone, features kept"
LEAST_S = 4.0


def bench_finetune(rounds: int, backbone: str = "ResNet50_vd") -> Finding:
    """Measure all in turns, on batches of `BATCH` random images of `SIZE_PX` pixels, with random weights."""
    full, two = _tuner(backbone, 0), _tuner(backbone, 2)
    head = _tuner(backbone, len(full.network.stages))
    image = _images()
    steps = {
        FULL: (full, image),
        TWO: (two, image),
        TWO_KEPT: (two, _features(two, image)),
        HEAD: (head, image),
        HEAD_KEPT: (head, _features(head, image)),
    }
    what: dict[str, Callable[[], float]] = {name: functools.partial(_per_second, *one) for name, one in steps.items()}
    if find_spec("torch"):
        what[TORCH] = lambda: in_process(torch_images_per_s, BATCH, SIZE_PX, thread_count(), LEAST_S)
    what[PLAIN] = lambda: in_process(full_steps_per_s, backbone, environment=own_environment(plain=True))
    measured = in_turns(what, rounds, "images/s")
    bars = {TWO: "", TWO_KEPT: ">= 1.6", HEAD: "", HEAD_KEPT: ">= 25"}
    ratios = [ratio(measured[name], measured[FULL], bar) for name, bar in bars.items()]
    bar = ">= 4" if amd_blas_path() else ""  # paddle as it comes is slow on AMD processors
    ratios.append(ratio(measured[FULL], measured[PLAIN], bar, name=f"{FULL} / plain paddle"))
    if TORCH in measured:
        ratios.append(ratio(measured[FULL], measured[TORCH], ">= 0.95"))
    title = f"fine-tuning, {backbone}, {SIZE_PX} px, batch {BATCH}, {thread_count()} threads"
    return Finding(title, tuple(measured.values()), tuple(ratios))


def full_steps_per_s(backbone: str) -> float:
    """Measure full steps in this process; returns images per second."""
    return _per_second(_tuner(backbone, 0), _images())


def _images() -> np.ndarray:
    """Draw a batch, float32 [BATCH, 1, 1, SIZE_PX, SIZE_PX]."""
    return np.random.default_rng(0).normal(size=(BATCH, 1, 1, SIZE_PX, SIZE_PX)).astype(np.float32)


def _tuner(backbone: str, frozen: int) -> FineTuner:
    training = TrainingSettings(batch_size=BATCH, freeze=FreezeSettings(until_epoch=(1,) * frozen))
    settings = Settings(model=ModelSettings(backbone=backbone, pretrained="none"), training=training)
    network, _ = make_network(settings)
    tuner = make_tuner(settings, network)
    freeze_stages(network, training.freeze, 0)
    return tuner


def _features(tuner: FineTuner, image: np.ndarray) -> np.ndarray:
    """Compute what the frozen stages give, as a training keeps it."""
    return tuner.network.embed(paddle.to_tensor(image)).numpy()


def _per_second(tuner: FineTuner, image: np.ndarray) -> float:
    """Measure steps on one batch: of images, which pass the frozen stages in every step, or of their features."""
    labels = paddle.to_tensor(np.eye(2, dtype=np.float32)[np.arange(BATCH) % 2])
    present = paddle.ones([BATCH, 1], dtype="bool")

    def step() -> None:
        tuner.train_batch([paddle.to_tensor(image), present], [labels, paddle.ones([BATCH]), paddle.arange(BATCH)])

    return per_second(step, BATCH, LEAST_S)
