"""The learning rate, the size of images, and which stages stand still when: the one owner of all three."""

import math
from collections.abc import Sequence
from typing import Any

from mammo.model.backbone import pieces_of
from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import FreezeSettings, ScheduleSettings, SmallerSettings
from mammo.training.optimizer import stage_of


def factor_at(step: int, *, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    """The factor on the learning rate at a step (from 0), without plateau's reductions, which depend on results."""
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if settings.name == "cosine":
        total = max(1.0, epochs * steps_per_epoch - warmup)
        done = min(1.0, (step - warmup) / total)
        return settings.final_factor + (1 - settings.final_factor) * (1 + math.cos(math.pi * done)) / 2
    if settings.name == "step":
        passed = sum(step >= epoch * steps_per_epoch for epoch in settings.step_epochs)
        return settings.factor**passed
    return 1.0


def scale_at(epoch: int, settings: Sequence[SmallerSettings]) -> float:
    """The factor on height and width of training images at an epoch (from 0)."""
    return next((step.factor for step in settings if epoch < step.until_epoch), 1.0)


class Plateau:
    """Cuts the learning rate by `factor` when the monitored value has not improved for `patience` epochs."""

    def __init__(self, settings: ScheduleSettings, mode: str) -> None:
        self._settings = settings
        self._sign = 1.0 if mode == "max" else -1.0
        self.factor = 1.0
        self.best: float | None = None
        self.waited = 0

    def state(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"factor": self.factor, "best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Know that again."""
        self.factor, self.best, self.waited = state["factor"], state["best"], state["waited"]

    def update(self, value: float) -> None:
        """Take an epoch's value."""
        if self.best is None or self._sign * value > self.best:
            self.best, self.waited = self._sign * value, 0
            return
        self.waited += 1
        if self.waited >= self._settings.patience:
            self.factor *= self._settings.factor
            self.waited = 0


def freeze_stages(network: MammogramNet, settings: FreezeSettings, epoch: int) -> None:
    """Let the stages that are due at an epoch learn, and hold the others (weights and batch-norm statistics)."""
    for name, parameter in network.named_parameters():
        parameter.stop_gradient = name not in network.learnable or is_frozen(
            stage_of(name, network.stages), settings, epoch
        )
    if settings.batch_norm:
        for _, layer in _norms(network):
            for parameter in layer.parameters(include_sublayers=False):
                parameter.stop_gradient = True
    network.hold(_standing_still(network, settings, epoch))


def _standing_still(network: MammogramNet, settings: FreezeSettings, epoch: int) -> int:
    """How many of the backbone's first layers learn nothing at an epoch."""
    stages = [
        stage_of(f"backbone.{name}", network.stages) if layer.state_dict() else 0
        for name, layer in pieces_of(network.backbone)
    ]
    moving = [number for number, stage in enumerate(stages) if not is_frozen(stage, settings, epoch)]
    return moving[0] if moving else len(stages)


def set_train_mode(network: MammogramNet, settings: FreezeSettings, epoch: int) -> None:
    """Set train mode, with the batch-norms of frozen stages (or all, as settings say) kept in eval mode."""
    network.train()
    for name, layer in _norms(network):
        if settings.batch_norm or is_frozen(stage_of(name, network.stages), settings, epoch):
            layer.eval()


def moving_statistics(network: MammogramNet) -> list[paddle.Tensor]:
    """Running means and variances of the batch-norms that move with each batch."""
    return [statistic for _, layer in _norms(network) if layer.training for statistic in (layer._mean, layer._variance)]


def is_frozen(stage: int | None, settings: FreezeSettings, epoch: int) -> bool:
    """Tell whether a stage stands still at an epoch; the head never does."""
    return stage is not None and stage < len(settings.until_epoch) and epoch < settings.until_epoch[stage]


def _norms(network: MammogramNet) -> list[tuple[str, paddle.nn.Layer]]:
    kind = paddle.nn.layer.norm._BatchNormBase
    return [(name, layer) for name, layer in network.named_sublayers() if isinstance(layer, kind | paddle.nn.BatchNorm)]
