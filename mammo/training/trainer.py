"""`paddle.Model` with a training step that weights cases and accumulates batches like one large batch.

The weights are averaged after each step; scoring uses the average in their place.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mammo.data.auxiliary import auxiliary_weights
from mammo.model.network import MammogramNet
from mammo.runtime import paddle
from mammo.settings.schema import TrainingSettings
from mammo.training.distributed import ALONE, World
from mammo.training.freezing import moving_statistics, set_train_mode
from mammo.training.recipe import CaseLoss, Optimizer


class FineTuner(paddle.Model):
    """Uses the loop of `paddle.Model.fit` with a `train_batch` of its own.

    paddle's step adds up the gradients of accumulated batches (four batches, four times the update) and also updates on
    a loss that is not finite. This one divides by the weight of all accumulated batches, and skips such a step
    (`RecallMetric` then stops). Each of several processes learns from its share of a batch; losses and gradients are
    added up, so that all take the step that one process would take with the whole batch, and keep equal weights.
    """

    def __init__(
        self, network: MammogramNet, optimizer: Optimizer, settings: TrainingSettings, *, world: World = ALONE
    ) -> None:
        spec = paddle.static.InputSpec
        inputs = [spec([None] * 5, name="image"), spec([None, None], "bool", "present")]
        labels = [spec([None, None], name="target"), spec([None], name="weight"), spec([None], "int64", "index")]
        super().__init__(network, inputs, labels)
        self.prepare(optimizer, CaseLoss(settings.loss, auxiliary_weights(settings.auxiliary)))
        self.optimizer, self.settings, self.world = optimizer, settings, world
        network.dropout.rank, network.dropout.ranks = world.rank, world.size
        self.epoch = 0  # finished epochs
        self.batch = 0  # finished batches of this epoch
        self.step = 0  # finished updates
        self.optimizer_restored: dict[str, np.ndarray] = {}  # of a resumed run, until its first step
        self.average = WeightAverage(network, settings.ema_decay)
        self.last_index = np.zeros(0, np.int64)
        self.last_loss = math.nan
        self._window_weight = 0.0
        self.scaler = paddle.amp.GradScaler(enable=settings.amp == "fp16")  # passes all through where not enabled

    @property
    def between_updates(self) -> bool:
        """Whether no accumulated batch waits for its update."""
        return self._window_weight == 0.0

    def train_batch(self, inputs: list, labels: list | None = None, update: bool = True) -> list[float]:
        """Learn from one batch; returns its mean loss, alone in a list."""
        target, weight, index = labels or [None] * 3
        set_train_mode(self.network, self.settings.freeze, self.epoch)
        amp = self.settings.amp
        with paddle.amp.auto_cast(enable=amp != "off", dtype="bfloat16" if amp == "bf16" else "float16"):
            logits = self.network(*inputs)
        losses = self._loss(logits, target)
        total = (losses * weight).sum()
        loss_sum, weight_sum = self.world.add([float(total), float(weight.sum())])
        self.last_index = index.numpy()
        self.last_loss = loss_sum / max(weight_sum, 1e-12)
        if math.isfinite(self.last_loss):
            self.scaler.scale(total).backward()
            self._window_weight += weight_sum
            if update:
                self._update()
        self.batch += 1
        return [self.last_loss]

    def _update(self) -> None:
        gradients = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        self.world.add_tensors(gradients, factor=1.0 / self._window_weight)
        if self.world.size > 1:
            self.world.add_tensors(moving_statistics(self.network), factor=1.0 / self.world.size)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.clear_grad()
        self._window_weight = 0.0
        self.step += 1
        self.average.update()


class WeightAverage:
    """Averages after each step. The decay starts low, so that the weights of the first steps are soon forgotten."""

    def __init__(self, network: paddle.nn.Layer, decay: float) -> None:
        self._network, self._decay = network, decay
        self.steps = 0
        self.averages = {name: value.clone().detach() for name, value in network.state_dict().items()} if decay else {}

    def update(self) -> None:
        """Add the weights after a step."""
        if not self._decay:
            return
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        with paddle.no_grad():
            for name, value in self._network.state_dict().items():
                average = self.averages[name]
                paddle.assign(average * decay + value.astype(average.dtype) * (1 - decay), average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the averages in the network's place while the block runs."""
        if not self._decay:
            yield
            return
        own = to_arrays(self._network.state_dict())
        self._network.set_state_dict(self.averages)
        try:
            yield
        finally:
            self._network.set_state_dict(own)

    def restore(self, arrays: dict[str, np.ndarray], steps: int) -> None:
        """Restore saved averages."""
        self.averages = {name: paddle.to_tensor(arrays[name]) for name in self.averages}
        self.steps = steps


def to_arrays(state: dict[str, paddle.Tensor]) -> dict[str, np.ndarray]:
    """Copy a state dict to NumPy arrays."""
    return {name: np.array(value.numpy()) for name, value in state.items()}


class StatefulCallback(paddle.callbacks.Callback):
    """A callback whose attributes named in `remembered` are saved with the run."""

    remembered: tuple[str, ...] = ()

    def state(self) -> dict[str, Any]:
        """What is saved: plain values for JSON."""
        return {name: getattr(self, name) for name in self.remembered}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        for name in self.remembered:
            setattr(self, name, state[name])
