"""The callbacks of a run, in one list; those that measure, save and show an epoch are in modules of their own.

Callbacks after `RecallMetric` find the epoch's metrics in `logs` under names such as `validation/recall`.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo.errors import TrainingError
from mammo.files import Lock
from mammo.runs import curves_folder
from mammo.runtime import derived_seed, paddle, seed_everything
from mammo.settings.schema import Settings
from mammo.training.assemble import Loaders
from mammo.training.checkpointing import Checkpointer
from mammo.training.epoch_metrics import EarlyStopping, RecallMetric, diverged
from mammo.training.freezing import freeze_stages
from mammo.training.logs import JsonLog, LogFile, ProgressDisplay, VisualDLLog, WaitClock
from mammo.training.run_state import StatefulCallback
from mammo.training.schedule import Plateau, factor_at, scale_at
from mammo.training.signals import StopSignals


class RunCallbacks:
    """All callbacks of a run, by name, in the order in which they run. A new callback is one line of `by_name`.

    The state of a `StatefulCallback` is saved under its name, and restored when the run goes on. Of several
    processes, only the first writes and shows.
    """

    def __init__(
        self,
        settings: Settings,
        loaders: Loaders,
        cases: pd.DataFrame,
        folder: Path,
        *,
        is_first: bool,
        lock: Lock | None,
        about: dict[str, Any],
    ) -> None:
        """Make the callbacks of a run in `folder` on the split's table of `cases`; `about` as for `Checkpointer`."""
        training, clock = settings.training, WaitClock()
        labels, rule = cases["label"].to_numpy(int), settings.evaluation.operating_point
        self.signals = StopSignals()
        self.stopping = EarlyStopping(training.early_stopping)
        plateau = Plateau(training.schedule, training.early_stopping)
        metric = RecallMetric(loaders.scored, labels, cases["case_id"], rule=rule, signals=self.signals)
        curves, histograms = curves_folder(settings.output, folder), training.log_histograms
        self.by_name: dict[str, paddle.callbacks.Callback] = {
            "start": StepStart(settings, loaders, plateau, lock),
            "finite": FiniteCheck(cases["case_id"]),
            "losses": metric,
            "stopping": self.stopping,
            "plateau": plateau,
        }
        if is_first:
            self.by_name |= {
                "log": JsonLog(folder / "log.jsonl", clock),
                "visualdl": VisualDLLog(curves, metric, loaders.dataset, histograms=histograms),
                "display": ProgressDisplay(training.epochs, loaders.sampler.batches, clock),
            }
        self.keepers = {name: one for name, one in self.by_name.items() if isinstance(one, StatefulCallback)}
        self.saver = Checkpointer(
            folder / "checkpoints",
            training.checkpoint,
            self.stopping,
            self.keepers,
            signals=self.signals,
            about=about,
        )
        self.by_name |= {"saver": self.saver, "clock": clock}

    def empty_logs(self) -> None:
        """Remove what a run that was stopped before it saved anything has logged."""
        for callback in self.keepers.values():
            if isinstance(callback, LogFile):
                callback.restore({"bytes": 0})

    def close(self) -> None:
        """Remove the progress bar, and close VisualDL's file."""
        for name in ("display", "visualdl"):
            if name in self.by_name:
                self.by_name[name].close()


class StepStart(paddle.callbacks.Callback):
    """Makes each step depend on (seed, epoch, batch) only, and sets its learning rate."""

    def __init__(self, settings: Settings, loaders: Loaders, plateau: Plateau, lock: Lock | None) -> None:
        super().__init__()
        self._settings, self._plateau, self._lock = settings, plateau, lock
        self._dataset, self._sampler = loaders.dataset, loaders.sampler

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Set the epoch and its first batch, and unfreeze stages. After a resume only the model knows the epoch."""
        number, training = self.model.epoch, self._settings.training
        self._sampler.epoch = number
        self._sampler.start = self.model.batch
        freeze_stages(self.model.network, training.freeze, number)
        copies = training.freeze.copies if self.model.network.held is not None else 0
        self._dataset.epoch = number % copies if copies else number
        self._dataset.scale = scale_at(number, training.smaller)

    def on_train_batch_begin(self, step: int, logs: dict | None = None) -> None:
        """Seed the random draws of this step, and set the learning rate of the update that it belongs to.

        Raises:
            InUseError: The lock on the run folder is lost.
        """
        if self._lock:
            self._lock.check()
        training = self._settings.training
        seed_everything(derived_seed(self._settings.seed, self.model.epoch, self.model.batch))
        factor = factor_at(
            self.model.step,
            steps_per_epoch=math.ceil(self._sampler.batches / training.accumulate),
            epochs=training.epochs,
            settings=training.schedule,
        )
        self.model.optimizer.set_lr(training.optimizer.learning_rate * factor * self._plateau.factor)


class FiniteCheck(paddle.callbacks.Callback):
    """Stops at a loss that is not finite, and names step and cases; the weights are still those before that step."""

    def __init__(self, case_ids: pd.Series) -> None:
        super().__init__()
        self._case_ids = case_ids

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Check the step's loss.

        Raises:
            TrainingError: It is not finite.
        """
        loss, index = self.model.last_loss, self.model.last_index
        if not math.isfinite(loss):
            index, _ = self.model.world.gather(index, np.zeros(len(index)))
            cases = ", ".join(self._case_ids.iloc[index])
            raise TrainingError(
                f"loss is {loss} at epoch {self.model.epoch + 1}, step {self.model.batch}, on the cases {cases}; "
                f"check these images; {diverged(self.model)}"
            )
