"""`paddle.Model` with the training step that this project needs: weighted, accumulated like one large batch, averaged."""

import math
from typing import Any

import numpy as np

from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import TrainingSettings
from mammo.training.distributed import World
from mammo.training.ema import WeightAverage
from mammo.training.loss import CaseLoss
from mammo.training.schedule import moving_statistics, set_train_mode


class FineTuner(paddle.Model):
    """`fit` is `paddle.Model`'s own loop; one step of it is this `train_batch`.

    paddle's step adds up the gradients of accumulated batches (four batches, four times the update) and steps on a loss
    that is no number; this one divides by the whole window's weight and leaves such a step out (`FiniteCheck` then stops).
    Of several processes each learns from its share of a batch; losses and gradients are added up, so that all take the step
    that one alone would take with the whole batch, and stay equal.
    """

    def __init__(
        self,
        network: MammogramNet,
        optimizer: paddle.optimizer.Optimizer,
        settings: TrainingSettings,
        *,
        world: World | None = None,
    ) -> None:
        image = paddle.static.InputSpec([None, None, None, None, None], "float32", "image")
        present = paddle.static.InputSpec([None, None], "bool", "present")
        labels = [
            paddle.static.InputSpec([None, 2], "float32", "target"),
            paddle.static.InputSpec([None], "float32", "weight"),
            paddle.static.InputSpec([None], "int64", "index"),
        ]
        super().__init__(network, [image, present], labels)
        self.prepare(optimizer, CaseLoss(settings.loss))
        self.settings = settings
        self.world = world or World()
        network.dropout.rank, network.dropout.ranks = self.world.rank, self.world.size
        self.epoch = 0  # whole epochs behind it
        self.batch = 0  # batches of this epoch behind it
        self.step = 0  # updates behind it
        self.optimizer_held: dict[str, np.ndarray] = {}  # of a resumed run, until its first step
        self.average = WeightAverage(network, settings.ema_decay)
        self.last_index = np.zeros(0, np.int64)
        self._window_weight = 0.0
        self._scaler = paddle.amp.GradScaler() if settings.amp == "fp16" else None

    @property
    def optimizer(self) -> paddle.optimizer.Optimizer:
        """The optimizer; its learning rate belongs to the schedule."""
        return self._optimizer

    @property
    def between_updates(self) -> bool:
        """Whether no gradient waits for the rest of its accumulated batches."""
        return self._window_weight == 0.0

    def scaler_state(self) -> dict[str, Any]:
        """What the loss scaler of fp16 remembers, as plain values; empty without it."""
        state = self._scaler.state_dict() if self._scaler else {}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()}

    def restore_scaler(self, state: dict[str, Any]) -> None:
        """Take that back."""
        if self._scaler and state:
            self._scaler.load_state_dict(state)

    def train_batch(self, inputs: list, labels: list | None = None, update: bool = True) -> list[float]:
        """Learn from one batch; returns its mean loss, alone in a list."""
        target, weight, index = labels or [None] * 3
        set_train_mode(self.network, self.settings.freeze, self.epoch)
        with paddle.amp.auto_cast(
            enable=self.settings.amp != "off", dtype={"bf16": "bfloat16"}.get(self.settings.amp, "float16")
        ):
            logits = self.network(*inputs)
        losses = self._loss(logits, target)
        total = (losses * weight).sum()
        loss_sum, weight_sum = self.world.add([float(total), float(weight.sum())])
        self.last_index = index.numpy()
        loss = loss_sum / max(weight_sum, 1e-12)
        if math.isfinite(loss):
            (self._scaler.scale(total) if self._scaler else total).backward()
            self._window_weight += weight_sum
            if update:
                self._update()
        self.batch += 1
        return [loss]

    def _update(self) -> None:
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        self.world.add_tensors(gradients)
        with paddle.no_grad():
            for gradient in gradients:
                gradient.scale_(1.0 / self._window_weight)
        self._share_statistics()
        if self._scaler:
            self._scaler.step(self._optimizer)
            self._scaler.update()
        else:
            self._optimizer.step()
        self._optimizer.clear_grad()
        self._window_weight = 0.0
        self.step += 1
        self.average.update()

    def _share_statistics(self) -> None:
        """Give all processes the mean of their batch-norms' running statistics."""
        if self.world.size == 1:
            return
        statistics = moving_statistics(self.network)
        self.world.add_tensors(statistics)
        with paddle.no_grad():
            for statistic in statistics:
                statistic.scale_(1.0 / self.world.size)
