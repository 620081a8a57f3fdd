"""`paddle.Model` with a training step that weights cases and accumulates batches like one large batch."""

import math
from typing import Any

import numpy as np

from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import TrainingSettings
from mammo.training.distributed import ALONE, World
from mammo.training.ema import WeightAverage
from mammo.training.freezing import moving_statistics, set_train_mode
from mammo.training.loss import CaseLoss


class FineTuner(paddle.Model):
    """Uses the loop of `paddle.Model.fit` with a `train_batch` of its own.

    paddle's step adds up the gradients of accumulated batches (four batches, four times the update) and also updates on
    a loss that is not finite. This one divides by the weight of all accumulated batches, and skips such a step
    (`FiniteCheck` then stops). Each of several processes learns from its share of a batch; losses and gradients are
    added up, so that all take the step that one process would take with the whole batch, and keep equal weights.
    """

    def __init__(
        self,
        network: MammogramNet,
        optimizer: paddle.optimizer.Optimizer,
        settings: TrainingSettings,
        *,
        world: World = ALONE,
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
        self.world = world
        network.dropout.rank, network.dropout.ranks = self.world.rank, self.world.size
        self.epoch = 0  # finished epochs
        self.batch = 0  # finished batches of this epoch
        self.step = 0  # finished updates
        self.optimizer_restored: dict[str, np.ndarray] = {}  # of a resumed run, until its first step
        self.average = WeightAverage(network, settings.ema_decay)
        self.last_index = np.zeros(0, np.int64)
        self.last_loss = math.nan
        self._window_weight = 0.0
        self._scaler = paddle.amp.GradScaler() if settings.amp == "fp16" else None

    @property
    def optimizer(self) -> paddle.optimizer.Optimizer:
        """The optimizer; its learning rate belongs to the schedule."""
        return self._optimizer

    @property
    def between_updates(self) -> bool:
        """Whether no accumulated batch waits for its update."""
        return self._window_weight == 0.0

    def scaler_state(self) -> dict[str, Any]:
        """The state of the loss scaler of fp16, as plain values; empty without it."""
        state = self._scaler.state_dict() if self._scaler else {}
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in state.items()}

    def restore_scaler(self, state: dict[str, Any]) -> None:
        """Restore what `scaler_state` returned."""
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
        self.last_loss = loss_sum / max(weight_sum, 1e-12)
        if math.isfinite(self.last_loss):
            (self._scaler.scale(total) if self._scaler else total).backward()
            self._window_weight += weight_sum
            if update:
                self._update()
        self.batch += 1
        return [self.last_loss]

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
