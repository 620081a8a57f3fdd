"""Saves a run: `checkpoints/last` within and after each epoch, `checkpoints/best` at a new best epoch.

A run restored from `checkpoints/last` continues bit-exactly.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import TrainingError, WeightsError
from mammo.model.checkpoint import Checkpoint, set_network, write_checkpoint
from mammo.runtime import paddle
from mammo.settings.schema import CheckpointSettings
from mammo.training.epoch_metrics import EarlyStopping
from mammo.training.signals import NUMBERS, StopSignals
from mammo.training.trainer import FineTuner, StatefulCallback, to_arrays


class Checkpointer(paddle.callbacks.Callback):
    """Saves the run after the other callbacks, and then moves the model to its next epoch."""

    def __init__(
        self,
        folder: Path,
        settings: CheckpointSettings,
        stopping: EarlyStopping,
        keepers: Mapping[str, StatefulCallback],
        *,
        signals: StopSignals,
        about: dict[str, Any],
    ) -> None:
        """Save to `folder` the states of `keepers` by their names; `about` is copied to each checkpoint.

        All processes stop after the same step when `signals` asks for it.
        """
        super().__init__()
        self._folder, self._settings, self._stopping, self._keepers = folder, settings, stopping, keepers
        self._signals, self._about = signals, about
        self._saved_at: tuple[int, int] | None = None
        self._saved_when = time.monotonic()

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Save where that is due, and stop if a signal asked for it; never among accumulated batches."""
        if not self.model.between_updates:
            return
        every, minutes = self._settings.every_steps, self._settings.every_minutes
        passed = minutes > 0 and time.monotonic() - self._saved_when >= 60 * minutes
        if passed or (every > 0 and self.model.step % every == 0):
            self.save()
        self._stop_together()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save a new best network as it is scored, then all that a resumed run needs; stop if a signal asked for it."""
        tuner: FineTuner = self.model
        if self._stopping.improved and tuner.world.is_first:
            metrics = {name: value for name, value in (logs or {}).items() if "/" in name}
            about = {"epoch": tuner.epoch + 1, "step": tuner.step, "metrics": metrics, **self._about}
            write_checkpoint(self._folder / "best", {"network": scored_network(tuner)}, about)
        tuner.epoch, tuner.batch = tuner.epoch + 1, 0
        self.save()
        self._stop_together()

    def _stop_together(self) -> None:
        """Stop if a signal has asked any of the processes to stop."""
        asked = self.model.world.add([float(self._signals.asked == number) for number in NUMBERS])
        for number, times in zip(NUMBERS, asked, strict=True):
            if times and self._signals.asked is None:
                self._signals.asked = number
        self._signals.check()

    def save(self) -> None:
        """Write `checkpoints/last`, unless nothing has changed since it was written.

        Raises:
            TrainingError: A weight is not finite; the checkpoint before it is kept.
            WeightsError: It cannot be written.
        """
        tuner: FineTuner = self.model
        if not tuner.world.is_first or not tuner.between_updates or self._saved_at == (tuner.epoch, tuner.batch):
            return
        tensors, state = self._collect()
        broken = [name for arrays in tensors.values() for name, array in arrays.items() if not np.isfinite(array).all()]
        if broken:
            what = f"{len(broken)} tensors of the network or its optimizer (such as {broken[0]}) are not finite"
            raise TrainingError(
                f"after epoch {tuner.epoch + 1}, step {tuner.batch}, {what}: training diverged; "
                "lower training.optimizer.learning_rate; what was saved before is kept"
            )
        write_checkpoint(self._folder / "last", tensors, state | self._about)
        self._saved_at, self._saved_when = (tuner.epoch, tuner.batch), time.monotonic()

    def _collect(self) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Any]]:
        """Collect all that a resumed run needs: tensors by group, and plain values.

        Random draws are not saved: they depend on (seed, epoch, batch) alone.
        """
        tuner: FineTuner = self.model
        tensors = {"network": to_arrays(tuner.network.state_dict()), "optimizer": _optimizer_arrays(tuner)}
        if tuner.settings.ema_decay:
            tensors["average"] = to_arrays(tuner.average.averages)
        return tensors, {
            "epoch": tuner.epoch,
            "batch": tuner.batch,
            "step": tuner.step,
            "average_steps": tuner.average.steps,
            "scaler": {name: np.array(value).tolist() for name, value in tuner.scaler.state_dict().items()},
            "learning_rate": tuner.optimizer.get_lr(),
            "keepers": {name: keeper.state() for name, keeper in self._keepers.items()},
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
        if state["scaler"]:
            tuner.scaler.load_state_dict(state["scaler"])
        tuner.optimizer.set_lr(state["learning_rate"])
        for name, keeper in keepers.items():
            keeper.restore(state["keepers"][name])
    except KeyError as error:
        what = f"{checkpoint.folder}: its state lacks {error}"
        raise WeightsError(f"{what}, so the run cannot go on from it; start a new run") from error


def _optimizer_arrays(tuner: FineTuner) -> dict[str, np.ndarray]:
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
