"""Builds the optimizer: which parameters decay, and how fast each stage learns."""

from collections.abc import Callable, Sequence
from typing import Any

from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import OptimizerSettings
from mammo.training.freezing import stage_of


def _adam(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any) -> paddle.optimizer.Optimizer:
    _add_coupled_decay(settings, decaying)
    return paddle.optimizer.Adam(**common)


def _adamw(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any) -> paddle.optimizer.Optimizer:
    names = {parameter.name for parameter in decaying}
    return paddle.optimizer.AdamW(
        **common, weight_decay=settings.weight_decay, apply_decay_param_fun=lambda name: name in names
    )


def _momentum(
    settings: OptimizerSettings, decaying: Sequence[paddle.Tensor], **common: Any
) -> paddle.optimizer.Optimizer:
    _add_coupled_decay(settings, decaying)
    return paddle.optimizer.Momentum(**common, momentum=settings.momentum)


# By `training.optimizer.name`: from the settings, the parameters that decay, and what all optimizers of paddle take.
OPTIMIZERS: dict[str, Callable[..., paddle.optimizer.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "momentum": _momentum,
}


def build_optimizer(
    network: MammogramNet, settings: OptimizerSettings, *, stage_lr_factors: tuple[float, ...] = ()
) -> paddle.optimizer.Optimizer:
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
    return OPTIMIZERS[settings.name](
        settings,
        decaying_parameters(network),
        learning_rate=settings.learning_rate,
        parameters=learnable_parameters(network),
        grad_clip=paddle.nn.ClipGradByGlobalNorm(settings.clip_norm) if settings.clip_norm else None,
    )


def _add_coupled_decay(settings: OptimizerSettings, decaying: Sequence[paddle.Tensor]) -> None:
    """Add L2 decay to the gradients of some parameters."""
    if settings.weight_decay:
        for parameter in decaying:
            parameter.regularizer = paddle.regularizer.L2Decay(settings.weight_decay)


def learnable_parameters(network: MammogramNet) -> list[paddle.Tensor]:
    """All parameters but batch-norm's running statistics."""
    return [parameter for name, parameter in network.named_parameters() if name in network.learnable]


def decaying_parameters(network: MammogramNet) -> list[paddle.Tensor]:
    """Weights of convolutions and linear layers: those with more than one axis."""
    return [parameter for parameter in learnable_parameters(network) if len(parameter.shape) > 1]
