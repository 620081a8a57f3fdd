"""A prepared store enters; how many augmented images a second come from it leaves, of crops and of whole films."""

import functools
import tempfile
import time
from pathlib import Path

import numpy as np

from mammo.bench.measure import Finding, Ratio, in_turns
from mammo.data.dataset import MammogramDataset
from mammo.data.loader import Loader
from mammo.data.sampler import EpochSampler
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.settings.schema import AugmentationStep, DataSettings, PhantomSettings, Settings, TrainingSettings

BATCH = 16
WORKERS = 2
STEPS = (
    AugmentationStep(name="flip_horizontal"),
    AugmentationStep(name="affine", p=1.0, rotate_deg=25, shear_deg=10, zoom=(0.8, 1.2), shift=0.05),
    AugmentationStep(name="intensity", p=0.5),
)
LEAST_S = 4.0
BATCHES = 60  # an epoch, at least
CROPS, FILMS = "crops 224×224", "whole films 1152×896"
BARS = {CROPS: 250, FILMS: 40}


def bench_loader(rounds: int) -> Finding:
    """Measure crops and films in turns; both are generated, prepared once, and read from the store as in training."""
    with tempfile.TemporaryDirectory() as folder:
        data = {
            CROPS: {
                "task": "lesion",
                "image_size": (224, 224),
                "phantom": PhantomSettings(patients=60, film_size=(768, 576)),
            },
            FILMS: {
                "task": "image",
                "image_size": (1152, 896),
                "phantom": PhantomSettings(patients=16, film_size=(1400, 1088)),
            },
        }
        sets = {name: _prepared(Path(folder) / str(number), how) for number, (name, how) in enumerate(data.items())}
        what = {name: functools.partial(_per_second, *one) for name, one in sets.items()}
        series = tuple(in_turns(what, rounds, "images/s").values())
    bars = tuple(Ratio(f"{one.name}, images/s", one.values, f">= {BARS[one.name]}") for one in series)
    return Finding(f"loader, {WORKERS} workers, flips, affine and intensity, batch {BATCH}", series, bars)


def _prepared(folder: Path, how: dict[str, object]) -> tuple[Settings, PreparedSplit]:
    data = DataSettings.model_validate({"kind": "phantom", "split": "holdout"} | how)
    settings = Settings(
        output=folder, data=data, augmentation=STEPS, training=TrainingSettings(batch_size=BATCH, workers=WORKERS)
    )
    return settings, prepare_split(settings, gather_split(settings))


def _per_second(settings: Settings, prepared: PreparedSplit) -> float:
    """Go through epochs for some seconds, the start of the workers left out, as a training's first wait is."""
    rows = prepared.split.rows("train")
    rows = np.tile(
        rows, -(-BATCHES * BATCH // len(rows))
    )  # what the workers do ahead while the first batch comes is then little of all
    cases = prepared.split.samples.cases.iloc[rows]
    dataset = MammogramDataset(prepared, rows, settings=settings, channels=1, augmentation=settings.augmentation)
    sampler = EpochSampler(cases["label"].to_numpy(int), cases["patient_id"].to_numpy(str), batch_size=BATCH, seed=0)
    seen, spent = 0, 0.0
    while spent < LEAST_S:
        sampler.epoch = dataset.epoch = sampler.epoch + 1
        batches = iter(Loader(dataset, workers=WORKERS, batch_sampler=sampler))
        next(batches)
        start = time.perf_counter()
        seen += sum(len(batch[4]) for batch in batches)
        spent += time.perf_counter() - start
    return seen / spent
