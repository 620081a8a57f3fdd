"""What training settings name, in tables: the loss, the optimizer, the learning rate and image size over time."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from mammo.errors import SettingsError, did_you_mean, in_one_line
from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import LossSettings, OptimizerSettings, ScheduleSettings, SmallerSettings, TrainingSettings
from mammo.training.freezing import stage_of

Optimizer: TypeAlias = paddle.optimizer.Optimizer


def check_names(training: TrainingSettings) -> None:
    """Check that the loss, the optimizer and the schedule are in their tables.

    Raises:
        SettingsError: A name is unknown; it lists the valid ones and suggests the nearest. Or L1 and L2 are both to be
            added to gradients, of which paddle adds one.
    """
    errors = []
    tables: dict[str, Mapping[str, Any]] = {"loss": LOSSES, "optimizer": OPTIMIZERS, "schedule": SCHEDULES}
    for key, table in tables.items():
        name = getattr(training, key).name
        if name not in table:
            hint = did_you_mean(name, table, cutoff=0.5)
            errors.append(f"training.{key}.name: expected one of {', '.join(table)}, got {name!r}{hint}")
    optimizer = training.optimizer
    if optimizer.l1_decay and optimizer.weight_decay and optimizer.name != "adamw":
        advice = "set one of them to 0, or use adamw, whose weight decay is no part of the gradient"
        errors.append(f"training.optimizer: {optimizer.name} takes l1_decay or weight_decay, got both; {advice}")
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
    """The loss that the settings name, with label smoothing, one value per case.

    `auxiliary`, float32 [A], are the weights of the auxiliary targets' binary cross-entropies.
    """

    def __init__(self, settings: LossSettings, auxiliary: np.ndarray | None = None) -> None:
        super().__init__()
        self._loss, self._settings = LOSSES[settings.name], settings
        self._weights = paddle.to_tensor(auxiliary if auxiliary is not None else np.zeros(0, np.float32))

    def forward(self, logits: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Return the loss float32 [N].

        Args:
            logits: [N, 2 + A], of benign, malignant and A auxiliary targets.
            target: float32 [N, 2 + A]; the first two of a row sum to 1, the others are in 0-1 or NaN for unknown.
        """
        classes = target[:, :2] * (1 - self._settings.label_smoothing) + self._settings.label_smoothing / 2
        log_probability = paddle.nn.functional.log_softmax(logits[:, :2].astype("float32"), axis=1)
        loss = self._loss(log_probability, classes, self._settings)
        return loss + self._auxiliary(logits[:, 2:], target[:, 2:]) if len(self._weights) else loss

    def _auxiliary(self, logits: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Return the weighted sum of binary cross-entropies float32 [N] over the known auxiliary targets."""
        known = ~paddle.isnan(target)
        soft = paddle.where(known, target, paddle.zeros_like(target))
        losses = paddle.nn.functional.binary_cross_entropy_with_logits(logits.astype("float32"), soft, reduction="none")
        return (losses * known.astype("float32") * self._weights).sum(axis=1)


def _adam(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any) -> Optimizer:
    _add_decay(decaying, paddle.regularizer.L2Decay(settings.weight_decay) if settings.weight_decay else None)
    return paddle.optimizer.Adam(**common)


def _adamw(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any) -> Optimizer:
    names = {parameter.name for parameter in decaying}
    decay = {"weight_decay": settings.weight_decay, "apply_decay_param_fun": lambda name: name in names}
    return paddle.optimizer.AdamW(**common, **decay)


def _momentum(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any) -> Optimizer:
    _add_decay(decaying, paddle.regularizer.L2Decay(settings.weight_decay) if settings.weight_decay else None)
    return paddle.optimizer.Momentum(**common, momentum=settings.momentum)


def _add_decay(decaying: Sequence[paddle.Tensor], decay: Any) -> None:
    """Add a decay of `paddle.regularizer` to the gradients of some parameters."""
    if decay is not None:
        for parameter in decaying:
            parameter.regularizer = decay


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
    decaying = [parameter for parameter in learnable if len(parameter.shape) > 1]  # of convolutions and linear layers
    if settings.l1_decay:
        _add_decay(decaying, paddle.regularizer.L1Decay(settings.l1_decay))
    return OPTIMIZERS[settings.name](
        settings,
        decaying,
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
