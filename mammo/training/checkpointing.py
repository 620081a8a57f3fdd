"""When a run is saved, and what of it: `checkpoints/last` after each epoch, `checkpoints/best` after each new best."""

from pathlib import Path
from typing import Any

import numpy as np

from mammo.model.checkpoint import read_checkpoint, set_network, write_checkpoint
from mammo.runtime import paddle
from mammo.training.callbacks import EarlyStopping
from mammo.training.ema import to_arrays
from mammo.training.schedule import Plateau
from mammo.training.trainer import FineTuner


class Checkpointer(paddle.callbacks.Callback):
    """Saves; comes after early stopping in the list of callbacks, and moves the model's epoch on when it is done."""

    def __init__(self, folder: Path, stopping: EarlyStopping, plateau: Plateau, *, about: dict[str, Any]) -> None:
        """Keep what is saved.

        Args:
            folder: `checkpoints/` of the run.
            stopping: Knows whether the epoch is a new best.
            plateau: Its state is saved.
            about: Config, split hash and versions, copied to each checkpoint.
        """
        super().__init__()
        self._folder, self._stopping, self._plateau, self._about = folder, stopping, plateau, about

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save the best network as it is scored (averaged where settings say so), then all that going on needs."""
        tuner: FineTuner = self.model
        metrics = {name: value for name, value in (logs or {}).items() if "/" in name}
        state = {"epoch": tuner.epoch + 1, "step": tuner.step, "metrics": metrics, **self._about}
        if self._stopping.improved:
            with tuner.average.applied():
                write_checkpoint(self._folder / "best", {"network": to_arrays(tuner.network.state_dict())}, state)
        tensors = {"network": to_arrays(tuner.network.state_dict()), "optimizer": optimizer_arrays(tuner)}
        if tuner.settings.ema_decay:
            tensors["average"] = tuner.average.state()
        stopping = {"best": self._stopping.best, "best_epoch": self._stopping.best_epoch, "waited": self._stopping.waited}
        plateau = {"factor": self._plateau.factor, "best": self._plateau.best, "waited": self._plateau.waited}
        write_checkpoint(
            self._folder / "last",
            tensors,
            state | {"average_steps": tuner.average.steps, "stopping": stopping, "plateau": plateau, "stopped": tuner.stop_training},
        )
        tuner.epoch += 1


def optimizer_arrays(tuner: FineTuner) -> dict[str, np.ndarray]:
    """The optimizer's state, keyed by the parameters' names in the network.

    paddle keys it by names such as `conv2d_7.w_0` that count up in a process; another network built before would shift them.
    """
    arrays = {}
    owners = _owners(tuner)
    for key, value in tuner.optimizer.state_dict().items():
        owner = _owner_of(key, owners)
        if owner is not None and isinstance(value, paddle.Tensor):
            arrays[f"{owners[owner]}|{key.removeprefix(owner)}"] = np.array(value.numpy())
    return arrays


def restore(tuner: FineTuner, stopping: EarlyStopping, plateau: Plateau, folder: Path) -> None:
    """Bring a run back to where its last checkpoint left it.

    Raises:
        WeightsError: There is no whole checkpoint, or it is of another network.
    """
    checkpoint = read_checkpoint(folder)
    set_network(tuner.network, checkpoint.tensors["network"], folder)
    state = checkpoint.state
    tuner.epoch, tuner.step = state["epoch"], state["step"]
    _restore_optimizer(tuner, checkpoint.tensors["optimizer"])
    if tuner.settings.ema_decay:
        tuner.average.restore(checkpoint.tensors["average"], state["average_steps"])
    for keeper, values in ((stopping, state["stopping"]), (plateau, state["plateau"])):
        for name, value in values.items():
            setattr(keeper, name, value)
    tuner.stop_training = state["stopped"]


def _restore_optimizer(tuner: FineTuner, arrays: dict[str, np.ndarray]) -> None:
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
