"""Training steps with stages frozen, and of the head alone, beside full ones; and PyTorch's, where that is installed."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from mammo.bench.measure import Finding, in_turns, per_second, ratio
from mammo.errors import TrainingError
from mammo.runtime import paddle, thread_count
from mammo.settings import FreezeSettings, ModelSettings, Settings, TrainingSettings
from mammo.training.assemble import make_network, make_tuner
from mammo.training.schedule import freeze_stages
from mammo.training.trainer import FineTuner

BATCH, SIZE = 8, 224
FULL, TORCH = "full step", "PyTorch, channels last"
TWO, TWO_KEPT = "two stages frozen, first epoch", "two stages frozen, features kept"
HEAD, HEAD_KEPT = "head alone, first epoch", "head alone, features kept"
LEAST_S = 4.0


def bench_finetune(rounds: int, backbone: str = "ResNet50_vd") -> Finding:
    """Measure all in turns, on batches of `BATCH` random images of `SIZE` px, with random weights."""
    full, two = _tuner(backbone, 0), _tuner(backbone, 2)
    head = _tuner(backbone, len(full.network.stages))
    image = np.random.default_rng(0).normal(size=(BATCH, 1, 1, SIZE, SIZE)).astype(np.float32)
    kept = {tuner: tuner.network.embed(paddle.to_tensor(image)).numpy() for tuner in (two, head)}
    what: dict[str, Callable[[], float]] = {
        FULL: lambda: _per_second(full, image),
        TWO: lambda: _per_second(two, image),
        TWO_KEPT: lambda: _per_second(two, kept[two]),
        HEAD: lambda: _per_second(head, image),
        HEAD_KEPT: lambda: _per_second(head, kept[head]),
    }
    if find_spec("torch"):
        what[TORCH] = _torch_per_second
    measured = in_turns(what, rounds, "images/s")
    bars = {TWO: "", TWO_KEPT: ">= 1.6", HEAD: "", HEAD_KEPT: ">= 25"}
    ratios = [ratio(f"{name} / {FULL}", measured[name], measured[FULL], bar) for name, bar in bars.items()]
    if TORCH in measured:
        ratios.append(ratio(f"{FULL} / {TORCH}", measured[FULL], measured[TORCH], ">= 0.95"))
    return Finding(f"fine-tuning, {backbone}, {SIZE} px, batch {BATCH}, {thread_count()} threads", tuple(measured.values()), tuple(ratios))


def _tuner(backbone: str, frozen: int) -> FineTuner:
    training = TrainingSettings(batch_size=BATCH, freeze=FreezeSettings(until_epoch=(1,) * frozen))
    settings = Settings(model=ModelSettings(backbone=backbone, pretrained="none"), training=training)
    network, _ = make_network(settings)
    tuner = make_tuner(settings, network)
    freeze_stages(network, training.freeze, 0)
    return tuner


def _per_second(tuner: FineTuner, image: np.ndarray) -> float:
    """Steps on one batch: images go through the frozen stages in every step, features have done so."""
    labels = [paddle.to_tensor(np.eye(2, dtype=np.float32)[np.arange(BATCH) % 2]), paddle.ones([BATCH]), paddle.arange(BATCH)]
    present = paddle.ones([BATCH, 1], dtype="bool")

    def step() -> None:
        films = paddle.to_tensor(image)
        tuner.train_batch([films, present], labels)

    return per_second(step, BATCH, LEAST_S)


def _torch_per_second() -> float:
    """In a process of its own: the two bring a BLAS and an OpenMP each."""
    command = [sys.executable, "-m", "mammo.bench.torch_steps", str(BATCH), str(SIZE), str(thread_count()), str(LEAST_S)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TrainingError(f"PyTorch's process failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return float(done.stdout)
