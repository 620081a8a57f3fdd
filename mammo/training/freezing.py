"""Freezes the stages of a network that do not learn yet: their weights and their batch-norm statistics."""

from mammo.model.backbone import pieces_of
from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import FreezeSettings


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
