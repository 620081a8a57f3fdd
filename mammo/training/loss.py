"""Logits and soft targets in, one loss per case out; weighting and averaging are the training step's."""

from mammo.runtime import paddle
from mammo.settings.schema import LossSettings


class CaseLoss(paddle.nn.Layer):
    """Cross-entropy or focal loss (Lin et al. 2017, arXiv:1708.02002) with label smoothing, not yet averaged."""

    def __init__(self, settings: LossSettings) -> None:
        super().__init__()
        self._gamma = settings.focal_gamma if settings.name == "focal" else 0.0
        self._smoothing = settings.label_smoothing

    def forward(self, logits: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Return the loss float32 [N] of logits [N, 2] against targets [N, 2] that sum to 1."""
        target = target * (1 - self._smoothing) + self._smoothing / 2
        log_probability = paddle.nn.functional.log_softmax(logits.astype("float32"), axis=1)
        if self._gamma:
            log_probability = log_probability * (1 - paddle.exp(log_probability)) ** self._gamma
        return -(target * log_probability).sum(axis=1)
