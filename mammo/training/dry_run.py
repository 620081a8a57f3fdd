"""Builds all that a run needs, trains on one batch, and reports sizes and times; it writes nothing."""

import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.cases.splits import Split, check_trainable
from mammo.data.auxiliary import check_known
from mammo.data.loader import collate
from mammo.model.download import default_cache
from mammo.model.network import start_from_pretrained
from mammo.model.pretrained import SSLD_URLS
from mammo.prepare.gather import check_split, gather_split, prepare_split
from mammo.runtime import paddle, peak_memory_mb
from mammo.settings.schema import Settings, TrainingSettings
from mammo.training.assemble import Loaders, make_loaders, make_network, make_tuner
from mammo.training.freezing import freeze_stages
from mammo.training.recipe import scale_at
from mammo.training.trainer import FineTuner

BATCH_NAMES = ("image", "present", "target", "weight", "index")


@dataclass(frozen=True)
class Stretch:
    """Epochs of one image size and the same frozen stages: how many, seconds of a step, and shapes of a batch."""

    epochs: int
    step_s: float
    shapes: tuple[list[int], ...]


def dry_run(settings: Settings) -> tuple[pd.DataFrame, pd.DataFrame, tuple[str, ...]]:
    """Build all that a run needs, prepare the films of one batch in a temporary folder, and learn from that batch.

    Returns:
        The split table, the cases left out, and lines that say what was built.

    Raises:
        MammoError: As the run itself would.
    """
    training = settings.training
    network, backbone = make_network(settings)
    weights = _to_download(settings)
    if not weights:
        report = start_from_pretrained(backbone, settings.model)
        weights = report.summary() if report else "none, random start"
    tuner = make_tuner(settings, network)
    with tempfile.TemporaryDirectory(prefix="mammo-dry-run-") as folder:
        data = settings.data.model_copy(update={"store": Path(folder)})
        settings = settings.model_copy(update={"data": data})
        split = gather_split(settings)
        audit = check_split(settings, split)
        check_trainable(split, training.batch_size)
        check_known(split.samples.cases, training.auxiliary)
        start = time.perf_counter()
        prepared = prepare_split(settings, _one_batch(split, training.batch_size))
        prepare_s = (time.perf_counter() - start) / len(prepared.entries)
        loaders = make_loaders(settings, prepared, network)
        stretches = [_try_epochs(tuner, loaders, training, *ends) for ends in pairwise(_changes(training))]
    parameters = {
        part: sum(int(np.prod(parameter.shape)) for parameter in layer.parameters())
        for part, layer in (("backbone", network.backbone), ("head", network.head))
    }
    shapes = zip(BATCH_NAMES, stretches[-1].shapes, strict=True)
    lines = (
        f"weights: {weights}",
        "parameters: " + ", ".join(f"{part} {count:,}" for part, count in parameters.items()),
        "batch: " + ", ".join(f"{name} {shape}" for name, shape in shapes),
        _time_line(training, split, int(audit.parts["patients"].iloc[0]), stretches),
        f"preparing: about {prepare_s * len(split.samples.views) / 60:.1f} min, once",
        f"memory: {peak_memory_mb() / 1e3:.1f} GB at its highest so far",
    )
    return audit.parts, split.samples.excluded, lines


def _to_download(settings: Settings) -> str:
    """What a run would download; empty where it needs no download."""
    url = SSLD_URLS.get(settings.model.backbone, "")
    if settings.model.pretrained != "ssld" or not url or (default_cache() / Path(url).name).exists():
        return ""
    return f"would be downloaded from {url} to {default_cache()}; random for this try"


def _one_batch(split: Split, batch_size: int) -> Split:
    """The first training cases, and a validation case of each class, which the loaders need."""
    labels, validation = split.samples.cases["label"].to_numpy(int), split.rows("validation")
    chosen = np.zeros(len(labels), bool)
    chosen[split.rows("train")[:batch_size]] = True
    for label in (0, 1):
        chosen[validation[labels[validation] == label][:1]] = True
    return Split(split.samples.keep(chosen, "not in the dry run"), split.part[chosen])


def _changes(settings: TrainingSettings) -> list[int]:
    """The epochs (from 0) at which stages begin to learn or images get larger, with the first epoch and the end."""
    at = {*settings.freeze.until_epoch, *(step.until_epoch for step in settings.smaller)}
    return [0, *sorted(epoch for epoch in at if 0 < epoch < settings.epochs), settings.epochs]


def _try_epochs(tuner: FineTuner, loaders: Loaders, settings: TrainingSettings, first: int, end: int) -> Stretch:
    """Learn twice from one batch, as the epochs from `first` (counted from 0) to before `end` would."""
    dataset = loaders.dataset
    dataset.scale = scale_at(first, settings.smaller)
    batch = [paddle.to_tensor(part) for part in collate([dataset[number] for number in range(len(dataset))])]
    freeze_stages(tuner.network, settings.freeze, first)
    tuner.epoch = first
    times = []
    for _ in range(2):
        start = time.perf_counter()
        tuner.train_batch(batch[:2], batch[2:])
        times.append(time.perf_counter() - start)
    return Stretch(end - first, min(times), tuple(list(tensor.shape) for tensor in batch))


def _time_line(training: TrainingSettings, split: Split, patients: int, stretches: list[Stretch]) -> str:
    """How long a run would take; `patients` are those of the training part."""
    cases = {part: len(split.rows(part)) for part in ("train", "validation")}
    steps = cases["train"] // training.batch_size
    share = min(1.0, training.score_train_patients / max(1, patients))
    scored = cases["validation"] + share * cases["train"]
    slowest_s = max(stretch.step_s for stretch in stretches)
    # Scoring is forward only, and on whole images: about a third of a full step.
    scoring_s = scored * slowest_s / training.batch_size / 3
    whole_min = sum(stretch.epochs * (steps * stretch.step_s + scoring_s) for stretch in stretches) / 60
    times = ", then ".join(f"{stretch.step_s:.2f} s a step in {stretch.epochs} of the epochs" for stretch in stretches)
    epoch_min = whole_min / training.epochs
    return f"time: {times}, {steps} steps each: about {epoch_min:.1f} min an epoch, {whole_min:.0f} min for all"
