"""Settings and a network in, an optimizer out: which parameters decay, and how fast each stage learns."""

from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import OptimizerSettings


def build_optimizer(
    network: MammogramNet, settings: OptimizerSettings, *, stage_lr_factors: tuple[float, ...] = ()
) -> paddle.optimizer.Optimizer:
    """Build the optimizer; its learning rate is set at each step by the schedule.

    Args:
        network: Norms' and biases' parameters get no decay.
        settings: Decay is L2 on the gradient for adam and momentum, decoupled for adamw.
        stage_lr_factors: Of each stage, stem first; stages without one, and the head, learn at factor 1.
    """
    _set_stage_factors(network, stage_lr_factors)
    decaying = {parameter.name for parameter in decaying_parameters(network)}
    clip = paddle.nn.ClipGradByGlobalNorm(settings.clip_norm) if settings.clip_norm else None
    common = {"learning_rate": settings.learning_rate, "parameters": learnable_parameters(network), "grad_clip": clip}
    if settings.name == "adamw":
        return paddle.optimizer.AdamW(
            **common, weight_decay=settings.weight_decay, apply_decay_param_fun=lambda name: name in decaying
        )
    if settings.weight_decay:
        for parameter in decaying_parameters(network):
            parameter.regularizer = paddle.regularizer.L2Decay(settings.weight_decay)
    if settings.name == "momentum":
        return paddle.optimizer.Momentum(**common, momentum=settings.momentum)
    return paddle.optimizer.Adam(**common)


def learnable_parameters(network: MammogramNet) -> list[paddle.Tensor]:
    """All parameters but batch-norm's running statistics."""
    return [parameter for name, parameter in network.named_parameters() if name in network.learnable]


def decaying_parameters(network: MammogramNet) -> list[paddle.Tensor]:
    """Weights of convolutions and linear layers: those with more than one axis."""
    return [parameter for parameter in learnable_parameters(network) if len(parameter.shape) > 1]


def stage_of(name: str, stages: tuple[tuple[str, ...], ...]) -> int | None:
    """Find the stage (0 is the stem) of a parameter or layer by its name below `backbone.`; None for the head."""
    inner = name.removeprefix("backbone.")
    if inner == name:
        return None
    for number, prefixes in enumerate(stages):
        if any(inner == prefix.rstrip(".") or inner.startswith(prefix.rstrip(".") + ".") for prefix in prefixes):
            return number
    return len(stages) - 1


def _set_stage_factors(network: MammogramNet, factors: tuple[float, ...]) -> None:
    for name, parameter in network.named_parameters():
        stage = stage_of(name, network.stages)
        if stage is not None and stage < len(factors):
            parameter.optimize_attr["learning_rate"] = factors[stage]
