"""What training settings name, in tables: the loss, the optimizer, the learning rate and image size over time."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from mammo.errors import SettingsError, did_you_mean, in_one_line
from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import LossSettings, OptimizerSettings, ScheduleSettings, SmallerSettings, TrainingSettings
from mammo.training.freezing import stage_of

Optimizer: TypeAlias = paddle.optimizer.Optimizer


def check_names(training: TrainingSettings) -> None:
    """Check that the loss, the optimizer and the schedule are in their tables.

    Raises:
        SettingsError: A name is unknown; it lists the valid ones and suggests the nearest.
    """
    errors = []
    tables: dict[str, Mapping[str, Any]] = {"loss": LOSSES, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    for key, table in tables.items():
        name = getattr(training, key).name
        if name not in table:
            hint = did_you_mean(name, table, cutoff=0.5)
            errors.append(f"training.{key}.name: expected one of {', '.join(table)}, got {name!r}{hint}")
    if errors:
        raise SettingsError(in_one_line("settings", errors))


def cross_entropy(log_probability: paddle.Tensor, target: paddle.Tensor, settings: LossSettings) -> paddle.Tensor:
    """Cross-entropy."""
    return -(target * log_probability).sum(axis=1)


def focal(log_probability: paddle.Tensor, target: paddle.Tensor, settings: LossSettings) -> paddle.Tensor:
    """Focal loss (Lin et al. 2017, arXiv:1708.02002)."""
    if settings.focal_gamma:
        log_probability = log_probability * (1 - paddle.exp(log_probability)) ** settings.focal_gamma
    return cross_entropy(log_probability, target, settings)


# By `training.loss.name`: from log-probabilities float32 [N, 2] and targets float32 [N, 2] to losses float32 [N].
LOSSES: dict[str, Callable[[paddle.Tensor, paddle.Tensor, LossSettings], paddle.Tensor]] = {
    "cross_entropy": cross_entropy,
    "focal": focal,
}


class CaseLoss(paddle.nn.Layer):
    """The loss that the settings name, with label smoothing, one value per case."""

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self._loss, self._settings = LOSSES[settings.name], settings

    def forward(self, logits: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Return the loss float32 [N] of logits [N, 2] against targets float32 [N, 2] whose rows sum to 1."""
        target = target * (1 - self._settings.label_smoothing) + self._settings.label_smoothing / 2
        log_probability = paddle.nn.functional.log_softmax(logits.astype("float32"), axis=1)
        return self._loss(log_probability, target, self._settings)


def _adam(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any) -> Optimizer:
    _add_coupled_decay(settings, decaying)
    return paddle.optimizer.Adam(**common)


def _adamw(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any) -> Optimizer:
    names = {parameter.name for parameter in decaying}
    decay = {"weight_decay": settings.weight_decay, "apply_decay_param_fun": lambda name: name in names}
    return paddle.optimizer.AdamW(**common, **decay)


def _momentum(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any) -> Optimizer:
    _add_coupled_decay(settings, decaying)
    return paddle.optimizer.Momentum(**common, momentum=settings.momentum)


def _add_coupled_decay(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor]) -> None:
    """Add L2 decay to the gradients of some parameters."""
    if settings.weight_decay:
        for parameter in decaying:
            parameter.regularizer = paddle.regularizer.L2Decay(settings.weight_decay)


# By `training.optimizer.name`: from the settings, the parameters that decay, and what all optimizers of paddle take.
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": _adam, "adamw": _adamw, "momentum": _momentum}


def build_optimizer(
    network: MammogramNet, settings: OptimizerSettings, *, stage_lr_factors: tuple[float, ...] = ()
) -> Optimizer:
    """Build the optimizer; the schedule sets its learning rate at each step.

    Args:
        network: The parameters of its norms and its biases do not decay.
        settings: Decay is L2 on the gradient for adam and momentum, decoupled for adamw.
        stage_lr_factors: Of each stage, stem first; stages without one, and the head, learn at factor 1.
    """
    for name, parameter in network.named_parameters():
        stage = stage_of(name, network.stages)
        if stage is not None and stage < len(stage_lr_factors):
            parameter.optimize_attr["learning_rate"] = stage_lr_factors[stage]
    learnable = [parameter for name, parameter in network.named_parameters() if name in network.learnable]
    return OPTIMIZERS[settings.name](
        settings,
        [parameter for parameter in learnable if len(parameter.shape) > 1],  # weights of convolutions and linear layers
        learning_rate=settings.learning_rate,
        parameters=learnable,
        grad_clip=paddle.nn.ClipGradByGlobalNorm(settings.clip_norm) if settings.clip_norm else None,
    )


def _constant(step: int, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    return 1.0


def _cosine(step: int, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    warmup = settings.warmup_epochs * steps_per_epoch
    total = max(1.0, epochs * steps_per_epoch - warmup)
    done = min(1.0, (step - warmup) / total)
    return settings.final_factor + (1 - settings.final_factor) * (1 + math.cos(math.pi * done)) / 2


def _step(step: int, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    passed = sum(step >= epoch * steps_per_epoch for epoch in settings.step_epochs)
    return settings.factor**passed


# By `training.schedule.name`: the factor on the learning rate at a step (from 0) after warm-up.
SCHEDULES: dict[str, Callable[[int, int, int, ScheduleSettings], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "plateau": _constant,  # cut by `Plateau` in epoch_metrics.py, which follows the results
}


def factor_at(step: int, *, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    """The factor on the learning rate at a step (from 0), without the cuts of `Plateau`."""
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return SCHEDULES[settings.name](step, steps_per_epoch, epochs, settings)


def scale_at(epoch: int, settings: Sequence[SmallerSettings]) -> float:
    """The factor on height and width of training images at an epoch (from 0)."""
    return next((step.factor for step in settings if epoch < step.until_epoch), 1.0)
