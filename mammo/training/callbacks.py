"""Runs the epochs of a run with its callbacks, from the start or from a checkpoint."""

import logging
import math
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from mammo.errors import LoaderError, Stopped, plain_stops
from mammo.files import Lock
from mammo.model.checkpoint import Checkpoint
from mammo.runs import curves_folder
from mammo.runtime import derived_seed, paddle, seed_everything
from mammo.settings.schema import Settings
from mammo.training.assemble import Loaders
from mammo.training.checkpointing import Checkpointer, restore_run
from mammo.training.epoch_metrics import EarlyStopping, Plateau, RecallMetric
from mammo.training.freezing import freeze_stages
from mammo.training.logs import JsonLog, LogFile, ProgressDisplay, VisualDLLog, WaitClock
from mammo.training.recipe import factor_at, scale_at
from mammo.training.resuming import repair_best
from mammo.training.signals import StopSignals
from mammo.training.trainer import FineTuner, StatefulCallback

logger = logging.getLogger(__name__)


class RunCallbacks:
    """All callbacks of a run, by name, in the order in which they run. A new callback is one line of `by_name`.

    The state of a `StatefulCallback` is saved under its name, and restored when the run goes on. Of several
    processes, only the first writes and shows. Callbacks after `RecallMetric` find the epoch's metrics in `logs` under
    names such as `validation/recall`.
    """

    def __init__(
        self,
        settings: Settings,
        tuner: FineTuner,
        loaders: Loaders,
        folder: Path,
        *,
        lock: Lock | None,
        about: dict[str, Any],
    ) -> None:
        """Make the callbacks of a run in `folder`; `about` as for `Checkpointer`."""
        self._training, self._tuner, self._loaders = settings.training, tuner, loaders
        training, clock = settings.training, WaitClock()
        self.signals = StopSignals()
        self.stopping = EarlyStopping(training.early_stopping)
        plateau = Plateau(training.schedule, training.early_stopping)
        metric = RecallMetric(loaders, rule=settings.evaluation.operating_point, signals=self.signals)
        self.by_name: dict[str, paddle.callbacks.Callback] = {
            "start": StepStart(settings, loaders, plateau, lock),
            "losses": metric,
            "stopping": self.stopping,
            "plateau": plateau,
        }
        if tuner.world.is_first:
            curves, histograms = curves_folder(settings.output, folder), training.log_histograms
            self.by_name |= {
                "log": JsonLog(folder / "log.jsonl", clock),
                "visualdl": VisualDLLog(curves, metric, loaders.dataset, histograms=histograms),
                "display": ProgressDisplay(training.epochs, loaders.sampler.batches, clock),
            }
        self.keepers = {name: one for name, one in self.by_name.items() if isinstance(one, StatefulCallback)}
        self.saver = Checkpointer(
            folder / "checkpoints", training.checkpoint, self.stopping, self.keepers, signals=self.signals, about=about
        )
        self.by_name |= {"saver": self.saver, "clock": clock}

    def run_epochs(self, checkpoint: Checkpoint | None) -> None:
        """Run the epochs that are left, from a checkpoint or from the start.

        Raises:
            Stopped: A signal asked for it; all that was learnt is saved.
        """
        training, tuner = self._training, self._tuner
        if checkpoint:
            self._restore(checkpoint)
        else:  # a run that was stopped before it saved anything may have logged
            for callback in self.keepers.values():
                if isinstance(callback, LogFile):
                    callback.restore({"bytes": 0})
        left = training.epochs - tuner.epoch
        if left <= 0 or tuner.stop_training:
            return
        with self.signals, closing(self), self._saved_when_stopped():
            tuner.fit(
                self._loaders.train,
                epochs=left,
                accumulate_grad_batches=training.accumulate,
                callbacks=list(self.by_name.values()),
                verbose=0,
            )

    def _restore(self, checkpoint: Checkpoint) -> None:
        tuner, stopping, settings = self._tuner, self.stopping, self._training.early_stopping
        restore_run(tuner, self.keepers, checkpoint)
        tuner.stop_training = stopping.waited >= settings.patience  # which may have changed
        if tuner.world.is_first:
            repair_best(checkpoint, tuner, stopping, settings.monitor)
        stopping.restore(tuner.world.from_first(stopping.state()))
        logger.info("resuming at epoch %d, after step %d of it", tuner.epoch + 1, tuner.batch)

    @contextmanager
    def _saved_when_stopped(self) -> Iterator[None]:
        """Save the run when a signal ends the block, or a loader does, whose workers the same signal may have ended."""
        try:
            with plain_stops():
                yield
        except Stopped:
            if not self.signals.impatient:
                self.saver.save()
            raise
        except LoaderError:
            self.saver.save()
            self.signals.check()
            raise

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
        steps, epochs = math.ceil(self._sampler.batches / training.accumulate), training.epochs
        factor = factor_at(self.model.step, steps_per_epoch=steps, epochs=epochs, settings=training.schedule)
        self.model.optimizer.set_lr(training.optimizer.learning_rate * factor * self._plateau.factor)
