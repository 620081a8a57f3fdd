"""Settings and prepared cases in, everything that `fit` needs out: network with weights, optimizer, loaders, callbacks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mammo.cases.splits import Split
from mammo.data.dataset import MammogramDataset
from mammo.data.loader import Batches, training_loader
from mammo.data.sampler import EpochSampler
from mammo.errors import SettingsError, TrainingError
from mammo.inference.score import part_loader
from mammo.model.backbone import Backbone
from mammo.model.network import MammogramNet, build_network, input_channels
from mammo.prepare.gather import PreparedSplit
from mammo.runtime import paddle, seed_everything
from mammo.settings.schema import Settings
from mammo.training.distributed import World
from mammo.training.kept_features import KeptFeatures
from mammo.training.optimizer import build_optimizer
from mammo.training.trainer import FineTuner


@dataclass(frozen=True)
class Loaders:
    """Training's loader with the two things an epoch is set on, and the loaders of what is scored each epoch."""

    train: Batches
    dataset: MammogramDataset
    sampler: EpochSampler
    scored: Mapping[str, Batches]


def make_network(settings: Settings, world: World | None = None) -> tuple[MammogramNet, Backbone]:
    """Build the network with random weights drawn from the seed; on several GPUs with batch-norms that see the whole batch."""
    check_precision(settings)
    check_shares(settings, world or World())
    seed_everything(settings.seed)
    network, backbone = build_network(settings.model, task=settings.data.task)
    if world and world.size > 1 and paddle.get_device().startswith("gpu"):  # paddle has no such kernel for CPUs
        network = paddle.nn.SyncBatchNorm.convert_sync_batchnorm(network)
    return network, backbone


def make_tuner(settings: Settings, network: MammogramNet, world: World | None = None) -> FineTuner:
    """Give a network its optimizer and training step.

    Args:
        settings: All of them.
        network: Of `make_network`.
        world: The processes that train it together; none for one alone.

    Raises:
        SettingsError: A list by stage is longer than the network has stages.
    """
    for key, values in (
        ("stage_lr_factors", settings.training.stage_lr_factors),
        ("freeze.until_epoch", settings.training.freeze.until_epoch),
    ):
        if len(values) > len(network.stages):
            raise SettingsError(
                f"training.{key}: {settings.model.backbone} has {len(network.stages)} stages, got {len(values)} values"
            )
    optimizer = build_optimizer(
        network, settings.training.optimizer, stage_lr_factors=settings.training.stage_lr_factors
    )
    return FineTuner(network, optimizer, settings.training, world=world)


def make_loaders(
    settings: Settings, prepared: PreparedSplit, network: MammogramNet, world: World | None = None
) -> Loaders:
    """Make the loaders of training and of the parts scored each epoch: this process's share of them.

    Args:
        settings: All of them.
        prepared: The cases.
        network: Whose features are kept while only its head learns.
        world: The processes that train together; none for one alone.
    """
    training, split = settings.training, prepared.split
    world = world or World()
    rows = split.rows("train")
    cases = split.samples.cases.iloc[rows]
    labels, channels = cases["label"].to_numpy(int), input_channels(settings.model)
    dataset = MammogramDataset(
        prepared,
        rows,
        settings=settings,
        channels=channels,
        augmentation=settings.augmentation,
        class_weights=class_weights(labels, training.loss.class_weights),
    )
    sampler = EpochSampler(
        labels,
        cases["patient_id"].to_numpy(str),
        batch_size=training.batch_size,
        seed=settings.seed,
        kind=training.sampler,
        mixup_alpha=training.mixup_alpha,
        rows=rows,
        own=world.own,
    )
    train = training_loader(dataset, sampler, workers=training.workers)
    scored_rows = {"validation": split.rows("validation")}
    if training.score_train_patients:
        scored_rows = {"train": fixed_sample(split, training.score_train_patients, settings.seed), **scored_rows}
    scored = {
        part: KeptFeatures(part_loader(settings, prepared, rows[world.own]), network)
        for part, rows in scored_rows.items()
    }
    looks = training.freeze.looks if settings.augmentation else 1
    return Loaders(KeptFeatures(train, network, looks=looks), dataset, sampler, scored)


def class_weights(labels: np.ndarray, wanted: str | tuple[float, float]) -> tuple[float, float]:
    """Weights of benign and malignant cases; `balanced` gives both classes the same sum, mean 1 over all cases."""
    if wanted == "none":
        return (1.0, 1.0)
    if wanted == "balanced":
        counts = np.bincount(labels, minlength=2)
        return (float(len(labels) / (2 * counts[0])), float(len(labels) / (2 * counts[1])))
    return (float(wanted[0]), float(wanted[1]))


def fixed_sample(split: Split, patients: int, seed: int) -> np.ndarray:
    """Row numbers of the training cases of some patients, the same in each epoch and after a resume."""
    rows = split.rows("train")
    owner = split.samples.cases["patient_id"].to_numpy(str)[rows]
    everyone = np.unique(owner)
    drawn = np.random.default_rng(seed).permutation(everyone)[:patients]
    return rows[np.isin(owner, drawn)]


def check_precision(settings: Settings) -> None:
    """Refuse mixed precision where there is no GPU.

    Raises:
        TrainingError: Naming the setting.
    """
    if settings.training.amp != "off" and not paddle.get_device().startswith("gpu"):
        raise TrainingError(
            f"training.amp: {settings.training.amp} needs a GPU, this is {paddle.get_device()}; set training.amp=off"
        )


def check_shares(settings: Settings, world: World) -> None:
    """Refuse batches that the processes that train together cannot share evenly.

    Raises:
        SettingsError: Naming the setting.
    """
    size = settings.training.batch_size
    if size % world.size:
        raise SettingsError(
            f"training.batch_size: {size} cases cannot be shared evenly by {world.size} processes; set a multiple"
        )


def parameter_counts(network: MammogramNet) -> Iterator[tuple[str, int]]:
    """Count parameters: of the backbone's stages together, and of the head."""
    for part, layer in (("backbone", network.backbone), ("head", network.head)):
        yield part, sum(int(np.prod(parameter.shape)) for parameter in layer.parameters())
