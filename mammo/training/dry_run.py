"""Settings in, a report of what a run would be out: everything built, one batch sent through, nothing written."""

import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases.audit import Audit
from mammo.cases.splits import Split, check_trainable
from mammo.data.loader import collate
from mammo.model.download import default_cache
from mammo.model.key_maps import SSLD_URLS
from mammo.model.network import start_from_pretrained
from mammo.prepare.gather import check_split, gather_split, prepare_split
from mammo.runtime import paddle, peak_memory_mb
from mammo.settings.schema import Settings, TrainingSettings
from mammo.training.assemble import Loaders, make_loaders, make_network, make_tuner, parameter_counts
from mammo.training.schedule import freeze_stages, scale_at
from mammo.training.trainer import FineTuner

BATCH_NAMES = ("image", "present", "target", "weight", "index")


@dataclass(frozen=True)
class DryRun:
    """`lines`: what was built, in words; `parts`: the split table; `excluded`: cases left out."""

    parts: pd.DataFrame
    excluded: pd.DataFrame
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Stretch:
    """So many epochs of one size and the same frozen stages: seconds that a step takes, and the shapes of a batch."""

    epochs: int
    step_s: float
    shapes: tuple[list[int], ...]


def dry_run(settings: Settings) -> DryRun:
    """Build all that a run needs, with films of one batch prepared in a temporary folder, and learn from that batch.

    Raises:
        MammoError: As the run itself would.
    """
    with tempfile.TemporaryDirectory(prefix="mammo-dry-run-") as folder:
        data = settings.data.model_copy(update={"store": Path(folder)})
        return _try(settings.model_copy(update={"data": data}))


def _try(settings: Settings) -> DryRun:
    network, backbone = make_network(settings)
    weights = _weights_line(settings)
    if not weights:
        report = start_from_pretrained(backbone, settings.model)
        weights = f"weights: {report.summary() if report else 'none, random start'}"
    tuner = make_tuner(settings, network)
    split = gather_split(settings)
    audit = check_split(settings, split)
    check_trainable(split, settings.training.batch_size)
    start = time.perf_counter()
    prepared = prepare_split(settings, _one_batch(split, settings.training.batch_size))
    prepare_s = (time.perf_counter() - start) / len(prepared.entries)
    loaders = make_loaders(settings, prepared, network)
    stretches = [
        _try_epochs(tuner, loaders, settings.training, *ends) for ends in pairwise(_changes(settings.training))
    ]
    lines = (
        weights,
        "parameters: " + ", ".join(f"{part} {count:,}" for part, count in parameter_counts(network)),
        "batch: " + ", ".join(f"{name} {shape}" for name, shape in zip(BATCH_NAMES, stretches[-1].shapes, strict=True)),
        *_estimates(settings, split, audit, stretches, prepare_s),
    )
    return DryRun(audit.parts, split.samples.excluded, lines)


def _one_batch(split: Split, batch_size: int) -> Split:
    """The first training cases, and one of each other class and part that the loaders need."""
    labels = split.samples.cases["label"].to_numpy(int)
    wanted = set(split.rows("train")[:batch_size].tolist())
    for part in ("validation",):
        wanted |= {int(row) for label in (0, 1) for row in split.rows(part)[labels[split.rows(part)] == label][:1]}
    chosen = np.isin(np.arange(len(labels)), sorted(wanted))
    return Split(split.samples.keep(chosen, "not in the dry run"), split.part[chosen])


def _weights_line(settings: Settings) -> str:
    """Say what a run would download; empty where nothing is to be downloaded."""
    url = SSLD_URLS.get(settings.model.backbone, "")
    if settings.model.pretrained != "ssld" or not url or (default_cache() / Path(url).name).exists():
        return ""
    return f"weights: would be downloaded from {url} to {default_cache()}; random for this try"


def _changes(settings: TrainingSettings) -> list[int]:
    """The epochs (from 0) at which stages begin to move or images get larger, between the first and the end."""
    at = {*settings.freeze.until_epoch, *(step.until_epoch for step in settings.smaller)}
    return [0, *sorted(epoch for epoch in at if 0 < epoch < settings.epochs), settings.epochs]


def _try_epochs(tuner: FineTuner, loaders: Loaders, settings: TrainingSettings, first: int, end: int) -> Stretch:
    """Learn twice from one batch, as the epochs from `first` (counted from 0) to before `end` would."""
    loaders.dataset.scale = scale_at(first, settings.smaller)
    batch = [
        paddle.to_tensor(part) for part in collate([loaders.dataset[number] for number in range(len(loaders.dataset))])
    ]
    freeze_stages(tuner.network, settings.freeze, first)
    tuner.epoch = first
    return Stretch(
        end - first, min(_timed_step(tuner, batch) for _ in range(2)), tuple(list(tensor.shape) for tensor in batch)
    )


def _timed_step(tuner: FineTuner, batch: list) -> float:
    start = time.perf_counter()
    tuner.train_batch(batch[:2], batch[2:])
    return time.perf_counter() - start


def _estimates(
    settings: Settings, split: Split, audit: Audit, stretches: list[Stretch], prepare_s: float
) -> tuple[str, ...]:
    training = settings.training
    cases = {part: len(split.rows(part)) for part in ("train", "validation")}
    steps = cases["train"] // training.batch_size
    share = min(1.0, training.score_train_patients / max(1, int(audit.parts["patients"].iloc[0])))
    scored = cases["validation"] + share * cases["train"]
    slowest_s = max(stretch.step_s for stretch in stretches)
    scoring_s = (
        scored * slowest_s / training.batch_size / 3
    )  # forward only, of whole images: about a third of a full step
    whole_min = sum(stretch.epochs * (steps * stretch.step_s + scoring_s) for stretch in stretches) / 60
    times = ", then ".join(f"{stretch.step_s:.2f} s a step in {stretch.epochs} of the epochs" for stretch in stretches)
    return (
        f"time: {times}, {steps} steps each: about {whole_min / training.epochs:.1f} min an epoch, {whole_min:.0f} min for all",
        f"preparing: about {prepare_s * len(split.samples.views) / 60:.1f} min, once",
        f"memory: {peak_memory_mb() / 1e3:.1f} GB at its highest so far",
    )
