"""A run in mid-training in, tensors and plain values out, and back: put back, it goes on to the very same weights.

What chance draws is not saved: it comes from (seed, epoch, batch) alone.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from mammo.errors import WeightsError
from mammo.model.checkpoint import Checkpoint, set_network
from mammo.runtime import paddle
from mammo.training.ema import to_arrays
from mammo.training.trainer import FineTuner


class Keeper(Protocol):
    """Whoever remembers something from one step or epoch to the next: early stopping, the schedule, the logs."""

    def state(self) -> dict[str, Any]:
        """What it remembers, as plain values that JSON holds."""

    def restore(self, state: dict[str, Any]) -> None:
        """Remember that again."""


def collect(tuner: FineTuner, keepers: Mapping[str, Keeper]) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
    """Gather all that going on needs: tensors by group, and the rest."""
    tensors = {"network": to_arrays(tuner.network.state_dict()), "optimizer": optimizer_arrays(tuner)}
    if tuner.settings.ema_decay:
        tensors["average"] = tuner.average.state()
    place = {"epoch": tuner.epoch, "batch": tuner.batch, "step": tuner.step}
    rest = {
        "average_steps": tuner.average.steps,
        "scaler": tuner.scaler_state(),
        "learning_rate": tuner.optimizer.get_lr(),
    }
    return tensors, place | rest | {"keepers": {name: keeper.state() for name, keeper in keepers.items()}}


def scored_network(tuner: FineTuner) -> dict[str, np.ndarray]:
    """The network as it is scored: averaged where settings say so."""
    with tuner.average.applied():
        return to_arrays(tuner.network.state_dict())


def put_back(tuner: FineTuner, keepers: Mapping[str, Keeper], checkpoint: Checkpoint) -> None:
    """Bring a run back to where a checkpoint left it.

    Raises:
        WeightsError: The checkpoint is of another network, or lacks a part.
    """
    state = checkpoint.state
    try:
        set_network(tuner.network, checkpoint.tensors["network"], checkpoint.folder)
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

    paddle keys it by names such as `conv2d_7.w_0` that count up in a process; another network built before would shift them.
    """
    arrays = dict(tuner.optimizer_held)
    owners = _owners(tuner)
    for key, value in tuner.optimizer.state_dict().items():
        owner = _owner_of(key, owners)
        if owner is not None and isinstance(value, paddle.Tensor):
            arrays[f"{owners[owner]}|{key.removeprefix(owner)}"] = np.array(value.numpy())
    return arrays


def _restore_optimizer(tuner: FineTuner, arrays: dict[str, np.ndarray]) -> None:
    """Put the optimizer's state back; paddle takes it over at the next step and tells nothing of it until then."""
    tuner.optimizer_held = arrays
    own_name = {structured: own for own, structured in _owners(tuner).items()}
    state = {}
    for key, value in arrays.items():
        structured, _, rest = key.partition("|")
        if structured in own_name:
            tensor = paddle.to_tensor(value)
            tensor.name = own_name[structured] + rest
            state[tensor.name] = tensor
    tuner.optimizer.set_state_dict(state)


def _owners(tuner: FineTuner) -> dict[str, str]:
    return {parameter.name: name for name, parameter in tuner.network.named_parameters()}


def _owner_of(key: str, owners: dict[str, str]) -> str | None:
    found = [name for name in owners if key.startswith(name + "_")]
    return max(found, key=len) if found else None
