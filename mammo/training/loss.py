"""Computes one loss per case from logits and soft targets; the training step weights and averages them."""

from collections.abc import Callable

from mammo.runtime import paddle
from mammo.settings.schema import LossSettings


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
