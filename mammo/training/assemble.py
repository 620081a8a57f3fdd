"""Builds what `fit` needs from settings and prepared cases: the network, its training step, and the loaders."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mammo.data.auxiliary import auxiliary_targets, auxiliary_weights
from mammo.data.dataset import MammogramDataset
from mammo.data.loader import Loader
from mammo.data.sampler import EpochSampler
from mammo.errors import SettingsError, TrainingError
from mammo.inference.score import part_loader
from mammo.model.backbone import Backbone
from mammo.model.network import MammogramNet, build_network, input_channels
from mammo.prepare.gather import PreparedSplit
from mammo.runtime import paddle, seed_everything
from mammo.settings.schema import Settings
from mammo.training.distributed import ALONE, World
from mammo.training.freezing import KeptFeatures
from mammo.training.recipe import build_optimizer, check_names
from mammo.training.trainer import FineTuner


@dataclass(frozen=True)
class Loaders:
    """The loader of training with its dataset and sampler, those of the parts scored each epoch, and all cases."""

    train: KeptFeatures
    dataset: MammogramDataset
    sampler: EpochSampler
    scored: Mapping[str, KeptFeatures]
    cases: pd.DataFrame


def make_network(settings: Settings, world: World = ALONE) -> tuple[MammogramNet, Backbone]:
    """Build the network with random weights drawn from the seed, after checking the settings of training.

    On several GPUs its batch-norms see the whole batch.

    Raises:
        SettingsError: A name is unknown, or the processes cannot share batches evenly.
        TrainingError: Mixed precision without a GPU.
    """
    training, on_gpu = settings.training, paddle.get_device().startswith("gpu")
    check_names(training)
    if training.amp != "off" and not on_gpu:
        what = f"training.amp: {training.amp} needs a GPU"
        raise TrainingError(f"{what}, this is {paddle.get_device()}; set training.amp=off")
    if training.batch_size % world.size:
        what = f"training.batch_size: {training.batch_size} cases cannot be shared evenly"
        raise SettingsError(f"{what} by {world.size} processes; set a multiple")
    seed_everything(settings.seed)
    targets = len(auxiliary_weights(training.auxiliary))
    network, backbone = build_network(settings.model, task=settings.data.task, auxiliary=targets)
    if world.size > 1 and on_gpu:  # paddle has no such kernel for CPUs
        network = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return network, backbone


def make_tuner(settings: Settings, network: MammogramNet, world: World = ALONE) -> FineTuner:
    """Give a network of `make_network` its optimizer and training step.

    Raises:
        SettingsError: A list by stage is longer than the network has stages.
    """
    training = settings.training
    by_stage = {"stage_lr_factors": training.stage_lr_factors, "freeze.until_epoch": training.freeze.until_epoch}
    for key, values in by_stage.items():
        if len(values) > len(network.stages):
            has = f"{settings.model.backbone} has {len(network.stages)} stages"
            raise SettingsError(f"training.{key}: {has}, got {len(values)} values")
    optimizer = build_optimizer(network, training.optimizer, stage_lr_factors=training.stage_lr_factors)
    return FineTuner(network, optimizer, training, world=world)


def make_loaders(settings: Settings, prepared: PreparedSplit, network: MammogramNet, world: World = ALONE) -> Loaders:
    """Make this process's loaders of training and of the parts scored each epoch.

    The features of the network's frozen stages are kept.
    """
    training, split = settings.training, prepared.split
    rows = split.rows("train")
    cases = split.samples.cases.iloc[rows]
    labels, patients = cases["label"].to_numpy(int), cases["patient_id"].to_numpy(str)
    dataset = MammogramDataset(
        prepared,
        rows,
        settings=settings,
        channels=input_channels(settings.model),
        augmentation=settings.augmentation,
        class_weights=class_weights(labels, training.loss.class_weights),
        auxiliary=auxiliary_targets(split.samples.cases, training.auxiliary) if training.auxiliary.weights else None,
    )
    sampler = EpochSampler(
        labels,
        patients,
        batch_size=training.batch_size,
        seed=settings.seed,
        kind=training.sampler,
        mixup_alpha=training.mixup_alpha,
        rows=rows,
        own=world.own,
    )
    copies = training.freeze.copies if settings.augmentation else 1
    train = KeptFeatures(Loader(dataset, workers=training.workers, batch_sampler=sampler), network, copies=copies)
    scored = {"validation": split.rows("validation")} if len(split.rows("validation")) else {}
    if training.score_train_patients:
        drawn = np.random.default_rng(settings.seed).permutation(np.unique(patients))[: training.score_train_patients]
        scored = {"train": rows[np.isin(patients, drawn)], **scored}  # the same in each epoch and after a resume
    loaders = {
        part: KeptFeatures(part_loader(settings, prepared, rows[world.own]), network) for part, rows in scored.items()
    }
    return Loaders(train, dataset, sampler, loaders, split.samples.cases)


def class_weights(labels: np.ndarray, wanted: str | tuple[float, float]) -> tuple[float, float]:
    """Weights of benign and malignant cases.

    Args:
        labels: int [cases], 0 or 1.
        wanted: `none`, `balanced` (both classes have the same sum; the mean over all cases is 1), or the two weights.
    """
    if wanted == "none":
        return (1.0, 1.0)
    if wanted == "balanced":
        benign, malignant = len(labels) / (2 * np.bincount(labels, minlength=2))
        return (float(benign), float(malignant))
    return (float(wanted[0]), float(wanted[1]))
