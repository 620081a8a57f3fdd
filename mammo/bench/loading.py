"""Measures how many augmented images a second the loader gives from a prepared store, of crops and of whole films."""

import functools
import tempfile
import time
from pathlib import Path

import numpy as np

from mammo.bench.measure import Finding, in_turns, limit
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
BARS = {CROPS: ">= 250", FILMS: ">= 40"}


def bench_loader(rounds: int) -> Finding:
    """Measure crops and films in turns; both are generated, prepared once, and read from the store as in training."""
    crops = PhantomSettings(patients=60, film_size=(768, 576))
    films = PhantomSettings(patients=16, film_size=(1400, 1088))
    data = {
        CROPS: DataSettings(kind="phantom", split="holdout", task="lesion", image_size=(224, 224), phantom=crops),
        FILMS: DataSettings(kind="phantom", split="holdout", task="image", image_size=(1152, 896), phantom=films),
    }
    with tempfile.TemporaryDirectory() as folder:
        what = {}
        for name, one in data.items():
            training = TrainingSettings(batch_size=BATCH, workers=WORKERS)
            settings = Settings(output=Path(folder) / one.task, data=one, augmentation=STEPS, training=training)
            prepared = prepare_split(settings, gather_split(settings))
            what[name] = functools.partial(_per_second, settings, prepared)
        measured = in_turns(what, rounds, "images/s")
    bars = tuple(limit(measured[name], bar) for name, bar in BARS.items())
    title = f"loader, {WORKERS} workers, flips, affine and intensity, batch {BATCH}"
    return Finding(title, tuple(measured.values()), bars)


def _per_second(settings: Settings, prepared: PreparedSplit) -> float:
    """Load epochs for some seconds, without the wait for each epoch's first batch."""
    rows = prepared.split.rows("train")
    # Long epochs, so that what the workers load ahead during the first batch is a small part.
    rows = np.tile(rows, -(-BATCHES * BATCH // len(rows)))
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
