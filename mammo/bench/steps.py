"""Settings in, the losses and the speed of some real training steps out; and the same beside paddle as it comes."""

import json
import logging
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo.bench.measure import Finding, in_turns, ratio
from mammo.bench.processes import last_line_of
from mammo.cases.splits import Split
from mammo.data.loader import Batches
from mammo.model.network import start_from_pretrained
from mammo.prepare.gather import gather_split, prepare_split
from mammo.runtime import PLAIN_VARIABLE, select_device
from mammo.settings.load import dump_settings, load_settings
from mammo.settings.schema import Settings
from mammo.training.assemble import Loaders, make_loaders, make_network, make_tuner
from mammo.training.freezing import freeze_stages
from mammo.training.schedule import factor_at
from mammo.training.trainer import FineTuner

logger = logging.getLogger(__name__)
WARM_STEPS = 2
OURS, PLAIN = "with the runtime", "plain paddle"


@dataclass(frozen=True)
class Steps:
    """Losses of each step, and images per second over the steps after the first two."""

    losses: tuple[float, ...]
    images_per_s: float


def run_steps(settings: Settings, steps: int, *, cases: int = 0) -> Steps:
    """Learn for some steps from a run's own batches.

    Args:
        settings: As for training; stages are not frozen, and the learning rate follows the schedule of `steps` steps.
        steps: At least three.
        cases: Learn from the first so many training cases only, over and over; 0 for all.

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


def bench_train(settings: Settings, steps: int, rounds: int) -> Finding:
    """A run's own steps with the runtime's environment and with paddle's own, in processes that take turns."""
    with tempfile.TemporaryDirectory() as folder:
        what = {
            name: lambda plain=plain: run_in_process(settings, steps, folder=Path(folder), plain=plain).images_per_s
            for name, plain in ((OURS, False), (PLAIN, True))
        }
        measured = in_turns(what, rounds, "images/s")
    backbone, (height, width) = settings.model.backbone, settings.data.image_size
    title = f"training steps, {backbone}, {height}×{width} px, batch {settings.training.batch_size}"
    return Finding(title, tuple(measured.values()), (ratio("runtime / plain", measured[OURS], measured[PLAIN]),))


def first_batches(settings: Settings) -> tuple[FineTuner, Batches]:
    """Assemble a training as `fit` does; its step, and its batches."""
    tuner, loaders = _assembled(settings, 0)
    return tuner, loaders.train


def _assembled(settings: Settings, cases: int) -> tuple[FineTuner, Loaders]:
    split = gather_split(settings)
    prepared = prepare_split(settings, _fewer(split, cases) if cases else split)
    network, backbone = make_network(settings)
    loaders = make_loaders(settings, prepared, network)
    report = start_from_pretrained(backbone, settings.model)
    logger.info("weights: %s", report.summary() if report else "none, random start")
    tuner = make_tuner(settings, network)
    freeze_stages(network, settings.training.freeze, max(settings.training.freeze.until_epoch, default=0))
    tuner.epoch = max(settings.training.freeze.until_epoch, default=0)
    return tuner, loaders


def run_in_process(settings: Settings, steps: int, *, folder: Path, plain: bool) -> Steps:
    """Run steps in a process of its own: with the runtime's environment, or `plain`, with paddle's own."""
    config = folder / "bench.yaml"
    config.write_text(dump_settings(settings), encoding="utf-8")
    values = json.loads(last_line_of("steps", config, steps, environment=own_environment(plain=plain)))
    return Steps(tuple(values["losses"]), values["images_per_s"])


def own_environment(*, plain: bool) -> dict[str, str]:
    """Of a process that sets threads and processor paths anew, as the runtime does or, `plain`, as paddle comes."""
    environment = {
        key: value for key, value in os.environ.items() if key not in {"OMP_NUM_THREADS", "MKL_DEBUG_CPU_TYPE"}
    }
    return environment | ({PLAIN_VARIABLE: "1"} if plain else {})


def loss_fall(losses: tuple[float, ...]) -> float:
    """How much lower the mean of the last ten losses is than that of the first ten, as a share."""
    return 1 - float(np.mean(losses[-10:]) / np.mean(losses[:10]))


def _fewer(split: Split, cases: int) -> Split:
    chosen = np.zeros(len(split.samples), bool)
    chosen[split.rows("train")[:cases]] = True
    chosen[split.rows("validation")] = True
    return Split(split.samples.keep(chosen, "not in the benchmark"), split.part[chosen])


def main() -> None:
    """Run as a process: settings file and number of steps in, one JSON line out."""
    settings = load_settings(Path(sys.argv[1]))
    select_device(settings.device)
    result = run_steps(settings, int(sys.argv[2]))
    print(json.dumps({"losses": result.losses, "images_per_s": result.images_per_s}))


if __name__ == "__main__":
    main()
