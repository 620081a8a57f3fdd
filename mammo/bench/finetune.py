"""Training steps with stages frozen, and of the head alone, beside full ones; and PyTorch's, where that is installed."""

import sys
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from mammo.bench.machine import processor
from mammo.bench.measure import Finding, in_turns, per_second, ratio
from mammo.bench.processes import last_line_of
from mammo.bench.steps import own_environment
from mammo.runtime import paddle, thread_count
from mammo.settings.schema import FreezeSettings, ModelSettings, Settings, TrainingSettings
from mammo.training.assemble import make_network, make_tuner
from mammo.training.freezing import freeze_stages
from mammo.training.trainer import FineTuner

BATCH, SIZE = 8, 224
FULL, PLAIN, TORCH = "full step", "full step, plain paddle", "PyTorch, channels last"
TWO, TWO_KEPT = "two stages frozen, first epoch", "two stages frozen, features kept"
HEAD, HEAD_KEPT = "head alone, first epoch", "head alone, features kept"
LEAST_S = 4.0


def bench_finetune(rounds: int, backbone: str = "ResNet50_vd") -> Finding:
    """Measure all in turns, on batches of `BATCH` random images of `SIZE` px, with random weights."""
    full, two = _tuner(backbone, 0), _tuner(backbone, 2)
    head = _tuner(backbone, len(full.network.stages))
    image = _images()
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
    what[PLAIN] = lambda: float(last_line_of("finetune", backbone, environment=own_environment(plain=True)))
    measured = in_turns(what, rounds, "images/s")
    bars = {TWO: "", TWO_KEPT: ">= 1.6", HEAD: "", HEAD_KEPT: ">= 25"}
    ratios = [ratio(f"{name} / {FULL}", measured[name], measured[FULL], bar) for name, bar in bars.items()]
    ratios.append(
        ratio(f"{FULL} / plain paddle", measured[FULL], measured[PLAIN], ">= 4" if "AMD" in processor() else "")
    )
    if TORCH in measured:
        ratios.append(ratio(f"{FULL} / {TORCH}", measured[FULL], measured[TORCH], ">= 0.95"))
    return Finding(
        f"fine-tuning, {backbone}, {SIZE} px, batch {BATCH}, {thread_count()} threads",
        tuple(measured.values()),
        tuple(ratios),
    )


def main() -> None:
    """As a process of its own: a backbone in, images a second of full steps out."""
    print(_per_second(_tuner(sys.argv[1], 0), _images()))


def _images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(BATCH, 1, 1, SIZE, SIZE)).astype(np.float32)


def _tuner(backbone: str, frozen: int) -> FineTuner:
    training = TrainingSettings(batch_size=BATCH, freeze=FreezeSettings(until_epoch=(1,) * frozen))
    settings = Settings(model=ModelSettings(backbone=backbone, pretrained="none"), training=training)
    network, _ = make_network(settings)
    tuner = make_tuner(settings, network)
    freeze_stages(network, training.freeze, 0)
    return tuner


def _per_second(tuner: FineTuner, image: np.ndarray) -> float:
    """Steps on one batch: images go through the frozen stages in every step, features have done so."""
    labels = [
        paddle.to_tensor(np.eye(2, dtype=np.float32)[np.arange(BATCH) % 2]),
        paddle.ones([BATCH]),
        paddle.arange(BATCH),
    ]
    present = paddle.ones([BATCH, 1], dtype="bool")

    def step() -> None:
        films = paddle.to_tensor(image)
        tuner.train_batch([films, present], labels)

    return per_second(step, BATCH, LEAST_S)


def _torch_per_second() -> float:
    """In a process of its own: the two bring a BLAS and an OpenMP each."""
    return float(last_line_of("torch_steps", BATCH, SIZE, thread_count(), LEAST_S))


if __name__ == "__main__":
    main()
