"""Collects the state of a run as tensors and plain values, and restores it; the run then continues bit-exactly.

Random draws are not saved: they depend on (seed, epoch, batch) alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mammo.errors import WeightsError
from mammo.model.checkpoint import Checkpoint, set_network
from mammo.runtime import paddle
from mammo.training.ema import to_arrays
from mammo.training.trainer import FineTuner


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


def collect(
    tuner: FineTuner, keepers: Mapping[str, StatefulCallback]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Collect all that a resumed run needs: tensors by group, and plain values."""
    tensors = {"network": to_arrays(tuner.network.state_dict()), "optimizer": optimizer_arrays(tuner)}
    if tuner.settings.ema_decay:
        tensors["average"] = tuner.average.state()
    return tensors, {
        "epoch": tuner.epoch,
        "batch": tuner.batch,
        "step": tuner.step,
        "average_steps": tuner.average.steps,
        "scaler": tuner.scaler_state(),
        "learning_rate": tuner.optimizer.get_lr(),
        "keepers": {name: keeper.state() for name, keeper in keepers.items()},
    }


def scored_network(tuner: FineTuner) -> dict[str, np.ndarray]:
    """The network as it is scored: averaged where settings say so."""
    with tuner.average.applied():
        return to_arrays(tuner.network.state_dict())


def restore_run(tuner: FineTuner, keepers: Mapping[str, StatefulCallback], checkpoint: Checkpoint) -> None:
    """Restore a run to the state of a checkpoint.

    Raises:
        WeightsError: The checkpoint is of another network, or lacks a part.
    """
    state = checkpoint.state
    try:
        set_network(tuner.network, checkpoint)
        _restore_optimizer(tuner, checkpoint.tensors["optimizer"])
        if tuner.settings.ema_decay:
            tuner.average.restore(checkpoint.tensors["average"], state["average_steps"])
        tuner.epoch, tuner.batch, tuner.step = state["epoch"], state["batch"], state["step"]
        tuner.restore_scaler(state["scaler"])
        tuner.optimizer.set_lr(state["learning_rate"])
        for name, keeper in keepers.items():
            keeper.restore(state["keepers"][name])
    except KeyError as error:
        raise WeightsError(
            f"{checkpoint.folder}: its state lacks {error}, so the run cannot go on from it; start a new run"
        ) from error


def optimizer_arrays(tuner: FineTuner) -> dict[str, np.ndarray]:
    """The optimizer's state, keyed by the parameters' names in the network.

    paddle keys it by names such as `conv2d_7.w_0` that count up in a process; a network built before would shift them.
    """
    arrays = dict(tuner.optimizer_restored)
    names = {parameter.name: name for name, parameter in tuner.network.named_parameters()}
    for key, value in tuner.optimizer.state_dict().items():
        own = max((own for own in names if key.startswith(own + "_")), key=len, default=None)
        if own is not None and isinstance(value, paddle.Tensor):
            arrays[f"{names[own]}|{key.removeprefix(own)}"] = np.array(value.numpy())
    return arrays


def _restore_optimizer(tuner: FineTuner, arrays: dict[str, np.ndarray]) -> None:
    """Restore the optimizer's state; paddle applies it at the next step and does not return it before that."""
    tuner.optimizer_restored = arrays
    names = {name: parameter.name for name, parameter in tuner.network.named_parameters()}
    state = {}
    for key, value in arrays.items():
        name, _, rest = key.partition("|")
        if name in names:
            tensor = paddle.to_tensor(value)
            tensor.name = names[name] + rest
            state[tensor.name] = tensor
    tuner.optimizer.set_state_dict(state)
