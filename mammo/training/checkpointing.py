"""Saves a run: `checkpoints/last` within and after each epoch, `checkpoints/best` at a new best epoch."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import TrainingError
from mammo.model.checkpoint import write_checkpoint
from mammo.runtime import paddle
from mammo.settings.schema import CheckpointSettings
from mammo.training.epoch_metrics import EarlyStopping
from mammo.training.run_state import StatefulCallback, collect, scored_network
from mammo.training.signals import NUMBERS, StopSignals
from mammo.training.trainer import FineTuner


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
        """Set what is saved.

        Args:
            folder: `checkpoints/` of the run.
            settings: How often.
            stopping: Knows whether the epoch is a new best.
            keepers: The callbacks with a state, by the names under which it is saved.
            signals: May ask the run to stop; all processes then stop after the same step.
            about: Config, hashes, versions and machine, copied to each checkpoint.
        """
        super().__init__()
        self._folder, self._settings, self._stopping, self._keepers = folder, settings, stopping, keepers
        self._signals, self._about = signals, about
        self._saved_at: tuple[int, int] | None = None
        self._saved_when = time.monotonic()

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Save where that is due; only between two updates, never among accumulated batches.

        Raises:
            Stopped: A signal asked for it.
        """
        if not self.model.between_updates:
            return
        every, minutes = self._settings.every_steps, self._settings.every_minutes
        passed = minutes > 0 and time.monotonic() - self._saved_when >= 60 * minutes
        if passed or (every > 0 and self.model.step % every == 0):
            self.save()
        self._stop_together()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Save a new best network as it is scored, then all that a resumed run needs.

        Raises:
            Stopped: A signal asked for it.
        """
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
        tensors, state = collect(tuner, self._keepers)
        broken = [name for arrays in tensors.values() for name, array in arrays.items() if not np.isfinite(array).all()]
        if broken:
            raise TrainingError(
                f"after epoch {tuner.epoch + 1}, step {tuner.batch}, {len(broken)} tensors of the network or its "
                f"optimizer (such as {broken[0]}) are not finite: training diverged; "
                "lower training.optimizer.learning_rate; what was saved before is kept"
            )
        write_checkpoint(self._folder / "last", tensors, state | self._about)
        self._saved_at, self._saved_when = (tuner.epoch, tuner.batch), time.monotonic()
