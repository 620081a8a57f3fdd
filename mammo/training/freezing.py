"""Freezes the stages that do not learn yet (weights, batch-norm statistics), and keeps their features of each case."""

from collections.abc import Iterator

import numpy as np

from mammo.data.loader import Loader, collate
from mammo.data.sampler import Blend
from mammo.images.geometry import Size
from mammo.model.backbone import pieces_of
from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import FreezeSettings

MOST_BYTES = 2 << 30  # of kept features


def freeze_stages(network: MammogramNet, settings: FreezeSettings, epoch: int) -> None:
    """Freeze the stages that do not learn yet at an epoch (weights and batch-norm statistics); let the others learn."""
    for name, parameter in network.named_parameters():
        frozen = is_frozen(stage_of(name, network.stages), settings, epoch)
        parameter.stop_gradient = frozen or name not in network.learnable
    if settings.batch_norm:
        for _, layer in _norms(network):
            for parameter in layer.parameters(include_sublayers=False):
                parameter.stop_gradient = True
    network.hold(_frozen_layers(network, settings, epoch))


def _frozen_layers(network: MammogramNet, settings: FreezeSettings, epoch: int) -> int:
    """How many of the backbone's first layers are frozen at an epoch; layers without parameters belong to the stem."""
    pieces = pieces_of(network.backbone)
    for number, (name, layer) in enumerate(pieces):
        stage = stage_of(f"backbone.{name}", network.stages) if layer.state_dict() else 0
        if not is_frozen(stage, settings, epoch):
            return number
    return len(pieces)


def set_train_mode(network: MammogramNet, settings: FreezeSettings, epoch: int) -> None:
    """Set train mode, but eval mode for the batch-norms of frozen stages, or for all where the settings say so."""
    network.train()
    for name, layer in _norms(network):
        if settings.batch_norm or is_frozen(stage_of(name, network.stages), settings, epoch):
            layer.eval()


def moving_statistics(network: MammogramNet) -> list[paddle.Tensor]:
    """Running means and variances of the batch-norms that change with each batch."""
    return [statistic for _, layer in _norms(network) if layer.training for statistic in (layer._mean, layer._variance)]


def is_frozen(stage: int | None, settings: FreezeSettings, epoch: int) -> bool:
    """Whether a stage is frozen at an epoch; the head (None) never is."""
    return stage is not None and stage < len(settings.until_epoch) and epoch < settings.until_epoch[stage]


def _norms(network: MammogramNet) -> list[tuple[str, paddle.nn.Layer]]:
    kind = paddle.nn.layer.norm._BatchNormBase
    return [(name, layer) for name, layer in network.named_sublayers() if isinstance(layer, kind | paddle.nn.BatchNorm)]


def stage_of(name: str, stages: tuple[tuple[str, ...], ...]) -> int | None:
    """Find the stage (0 is the stem) of a parameter or layer by its name below `backbone.`; None for the head."""
    inner = name.removeprefix("backbone.")
    if inner == name:
        return None
    for number, prefixes in enumerate(stages):
        if any(f"{inner}.".startswith(prefix.rstrip(".") + ".") for prefix in prefixes):
            return number
    return len(stages) - 1


class KeptFeatures:
    """A loader's batches; while stages are frozen, with features of `MammogramNet.embed` as images, if memory allows.

    The features of each augmented copy of a case are kept: its film is read once, and the frozen stages run once.
    `copies` is how many a case has: one without augmentation, or `training.freeze.copies`; 0 for a new one in each
    epoch, of which nothing is kept. Blends of mixup never repeat: not kept.
    """

    def __init__(self, loader: Loader, network: MammogramNet, *, copies: int = 1) -> None:
        self._loader, self._network, self._copies = loader, network, copies
        self._kept: dict[tuple[int, int], np.ndarray] = {}  # by augmented copy and draw
        self._made_by: tuple[object, Size] | None = None
        self._keeps = False

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        made_by = self._network.held, self._loader.dataset.size
        if self._made_by != made_by:
            self._kept, self._made_by = {}, made_by
            self._keeps = bool(self._copies) and self._network.held is not None and self._fits()
        if not self._keeps:
            yield from self._loader
            return
        for draws in self._loader.draws():
            plain = [draw for draw in draws if not isinstance(draw, Blend)]
            if len(plain) < len(draws):
                yield from self._loader
                return
            yield self._batch(plain)

    def _fits(self) -> bool:
        dataset = self._loader.dataset
        one = self._network.embed(paddle.to_tensor(dataset.blank().image[None]))
        return int(np.prod(one.shape)) * np.dtype(np.float32).itemsize * len(dataset) * self._copies <= MOST_BYTES

    def _batch(self, draws: list[int]) -> list[paddle.Tensor]:
        dataset = self._loader.dataset
        keys = [(dataset.augmented_copy, draw) for draw in draws]
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if missing:
            image, *_ = collate([dataset[draw] for _, draw in missing])
            self._kept |= zip(missing, self._network.embed(paddle.to_tensor(image)).numpy(), strict=True)
        features = np.stack([self._kept[key] for key in keys])
        labels = collate([dataset.without_film(draw) for draw in draws])[1:]
        return [paddle.to_tensor(array) for array in (features, *labels)]
