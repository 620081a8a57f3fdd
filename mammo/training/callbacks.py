"""Callbacks of `paddle.Model`: each epoch's setting-up, the finite check, whole-set metrics, early stopping, progress.

They run in the order given to `fit`; `RecallMetric` puts the epoch's metrics into `logs` under names such as
`validation/recall`, and those after it read them there.
"""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mammo.data.dataset import MammogramDataset
from mammo.data.loader import Batches
from mammo.data.sampler import EpochSampler
from mammo.errors import TrainingError, few_of
from mammo.evaluation.calibration import to_probability
from mammo.evaluation.metrics import count_confusion, cross_entropy, measure_at, measure_ranking
from mammo.evaluation.operating_point import choose_threshold
from mammo.files import Lock
from mammo.inference.score import score_logits
from mammo.progress import SECONDS_BETWEEN_LINES
from mammo.runtime import derived_seed, paddle, seed_everything
from mammo.settings.schema import EPOCH_METRICS, EarlyStoppingSettings, ScheduleSettings
from mammo.training.schedule import Plateau, factor_at, freeze_stages, scale_at
from mammo.training.signals import StopSignals
from mammo.training.trainer import FineTuner
from mammo.training.wait_clock import WaitClock


class StepStart(paddle.callbacks.Callback):
    """Makes each step depend on (seed, epoch, batch) only, and sets its learning rate; a resumed epoch goes on at its batch."""

    def __init__(
        self,
        dataset: MammogramDataset,
        sampler: EpochSampler,
        *,
        seed: int,
        epochs: int,
        schedule: ScheduleSettings,
        plateau: Plateau,
        lock: Lock | None,
    ) -> None:
        super().__init__()
        self._lock = lock
        self._dataset, self._sampler, self._seed, self._epochs = dataset, sampler, seed, epochs
        self._schedule, self._plateau = schedule, plateau

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Say which epoch it is, and thaw what is due. `fit` counts from 0 after a resume too; the model knows better."""
        number = self.model.epoch
        self._sampler.epoch = number
        self._sampler.start = self.model.batch
        freeze_stages(self.model.network, self.model.settings.freeze, number)
        looks = self.model.settings.freeze.looks if self.model.network.held is not None else 0
        self._dataset.epoch = number % looks if looks else number
        self._dataset.scale = scale_at(number, self.model.settings.smaller)

    def on_train_batch_begin(self, step: int, logs: dict | None = None) -> None:
        """Seed what chance draws in this step, and set the learning rate of the update that it belongs to.

        Raises:
            InUseError: The run is no longer this process's own.
        """
        if self._lock:
            self._lock.check()
        seed_everything(derived_seed(self._seed, self.model.epoch, self.model.batch))
        settings = self.model.settings
        per_epoch = -(-self._sampler.batches // settings.accumulate)
        factor = factor_at(self.model.step, steps_per_epoch=per_epoch, epochs=self._epochs, settings=self._schedule)
        self.model.optimizer.set_lr(settings.optimizer.learning_rate * factor * self._plateau.factor)


class FiniteCheck(paddle.callbacks.Callback):
    """Stops at a loss that is no number, naming step and cases; the weights are still those before that step."""

    def __init__(self, case_ids: pd.Series) -> None:
        super().__init__()
        self._case_ids = case_ids

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Check the step's loss."""
        loss = _loss_of(logs)
        if not math.isfinite(loss):
            index, _ = self.model.world.gather(self.model.last_index, np.zeros(len(self.model.last_index)))
            cases = ", ".join(self._case_ids.iloc[index])
            raise TrainingError(
                f"loss is {loss} at epoch {self.model.epoch + 1}, step {self.model.batch}, on the cases {cases}; "
                f"lower training.optimizer.learning_rate or look at these images{kept(self.model)}"
            )


class RecallMetric(paddle.callbacks.Callback):
    """Scores parts over the whole set at each epoch's end, in eval mode and without augmentation, like with like.

    Recall and its kin are measured at 0.5, under `recall_at_operating_point`'s kin at the operating point that validation
    would choose at that epoch. `gap/auc` and `gap/loss` are training's minus validation's: over-fitting as it starts.
    """

    def __init__(
        self,
        loaders: Mapping[str, Batches],
        labels: np.ndarray,
        case_ids: pd.Series,
        *,
        rule: str,
        signals: StopSignals,
    ) -> None:
        """Keep what is scored.

        Args:
            loaders: Of each part, `validation` among them.
            labels: Of every row of the split's table.
            case_ids: Of the same rows.
            rule: The operating point's.
            signals: May cut scoring off: it is done again when the run goes on.
        """
        super().__init__()
        self._loaders, self._labels, self._case_ids, self._rule, self._signals = (
            loaders,
            labels,
            case_ids,
            rule,
            signals,
        )
        self._loss_sum = 0.0
        self.scored: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def state(self) -> dict[str, Any]:
        """What a resumed epoch must know."""
        return {"loss_sum": self._loss_sum}

    def restore(self, state: dict[str, Any]) -> None:
        """Know that again."""
        self._loss_sum = state["loss_sum"]

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Add up the epoch's losses."""
        self._loss_sum = _loss_of(logs) + (self._loss_sum if self.model.batch > 1 else 0.0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Score, measure, and lay the metrics into `logs`.

        Raises:
            TrainingError: The network gives no number for some case.
        """
        logs = logs if logs is not None else {}
        for name in [name for name in logs if "/" in name]:
            del logs[name]  # paddle hands the same dictionary to every fit of a process
        logs["train/loss_augmented"] = self._loss_sum / self.model.batch
        with self.model.average.applied(), self._signals.at_once():
            for part, loader in self._loaders.items():
                rows, logits = self._score(part, loader)
                labels = self._labels[rows]
                self.scored[part] = (labels, to_probability(logits))
                logs.update({f"{part}/{name}": value for name, value in measure_epoch(labels, logits).items()})
        labels, scores = self.scored["validation"]
        threshold = choose_threshold(labels, scores, self._rule)
        at_point = measure_at(count_confusion(labels, scores, threshold))
        logs["validation/threshold"] = threshold
        logs["validation/recall_at_operating_point"] = at_point["recall"].value
        logs["validation/specificity_at_operating_point"] = at_point["specificity"].value
        if "train" in self._loaders:
            for name in ("auc", "loss"):
                logs[f"gap/{name}"] = logs[f"train/{name}"] - logs[f"validation/{name}"]

    def _score(self, part: str, loader: Batches) -> tuple[np.ndarray, np.ndarray]:
        rows, logits = self.model.world.gather(*score_logits(self.model.network, loader))
        bad = ~np.isfinite(logits)
        if bad.any():
            cases = few_of(self._case_ids.iloc[rows[bad]].tolist(), most=12)
            raise TrainingError(
                f"after epoch {self.model.epoch + 1}, step {self.model.batch}, the network gives no number for {bad.sum()} of {len(bad)} "
                f"{part} cases ({cases}): training diverged; lower training.optimizer.learning_rate{kept(self.model)}"
            )
        return rows, logits


def measure_epoch(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Whole-set metrics at 0.5; one that is undefined there (no case called malignant) counts as 0."""
    scores = to_probability(logits)
    measured = measure_ranking(labels, scores) | measure_at(count_confusion(labels, scores, 0.5))
    return {"loss": cross_entropy(labels, logits)} | {
        name: measured[name].value or 0.0 for name in EPOCH_METRICS if name != "loss"
    }


def kept(tuner: FineTuner) -> str:
    """Say that a run that fails has not failed for nothing."""
    return "; the best network so far is kept" if tuner.epoch else ""


class EarlyStopping(paddle.callbacks.Callback):
    """Stops when the monitored metric has not improved for `patience` epochs; `improved` tells the saver of a new best."""

    def __init__(self, settings: EarlyStoppingSettings) -> None:
        super().__init__()
        self._settings = settings
        self._sign = 1.0 if settings.mode == "max" else -1.0
        self.best: float | None = None
        self.best_epoch = -1
        self.latest: float | None = None
        self.waited = 0
        self.improved = False

    def state(self) -> dict[str, Any]:
        """What a resumed run must know."""
        return {"best": self.best, "best_epoch": self.best_epoch, "latest": self.latest, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        """Know that again."""
        self.best, self.best_epoch, self.latest, self.waited = (
            state[name] for name in ("best", "best_epoch", "latest", "waited")
        )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Compare this epoch with the best.

        Raises:
            TrainingError: The monitored metric is not measured.
        """
        self.latest = value = monitored(logs or {}, self._settings.monitor)
        self.improved = self.best is None or self._sign * (value - self.best) > self._settings.min_delta
        if self.improved:
            self.best, self.best_epoch, self.waited = value, self.model.epoch, 0
            return
        self.waited += 1
        if self.waited >= self._settings.patience:
            self.model.stop_training = True


class PlateauOnMetric(paddle.callbacks.Callback):
    """Feeds the monitored metric to the plateau schedule."""

    def __init__(self, plateau: Plateau, monitor: str) -> None:
        super().__init__()
        self._plateau, self._monitor = plateau, monitor

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Take this epoch's value."""
        if self.model.settings.schedule.name == "plateau":
            self._plateau.update(monitored(logs or {}, self._monitor))


class ProgressDisplay(paddle.callbacks.Callback):
    """A bar on a terminal, plain lines elsewhere; one line of metrics per epoch on both."""

    def __init__(self, epochs: int, steps: int, clock: WaitClock) -> None:
        super().__init__()
        self._epochs, self._steps, self._clock = epochs, steps, clock
        self._bar: Progress | None = None
        self._start = self._last = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the epoch's bar."""
        self._start = self._last = time.monotonic()
        if sys.stdout.isatty():
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                transient=True,
            )
            self._bar.add_task(f"epoch {self.model.epoch + 1}/{self._epochs}", total=self._steps)
            self._bar.start()

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Move the bar on, or print a line now and then."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self.model.batch)
        elif time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            print(
                f"epoch {self.model.epoch + 1}/{self._epochs}: step {self.model.batch} of {self._steps}, loss {_loss_of(logs):.3f}",
                flush=True,
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Print the epoch's line."""
        self.close()
        values = logs or {}
        shown = [
            f"{part} {values[f'{part}/auc']:.3f}/{values[f'{part}/recall']:.2f}"
            for part in ("train", "validation")
            if f"{part}/auc" in values
        ]
        took = time.monotonic() - self._start
        head = f"epoch {self.model.epoch + 1}/{self._epochs}  loss {values['train/loss_augmented']:.3f}"
        print(f"{head}  AUC/recall {', '.join(shown)}  {took:.0f} s{self._clock.advice()}", flush=True)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar:
            self._bar.stop()
            self._bar = None


def monitored(logs: dict, monitor: str) -> float:
    """Look a metric up.

    Raises:
        TrainingError: It is not measured; those that are, are listed.
    """
    if monitor not in logs:
        known = ", ".join(sorted(name for name in logs if "/" in name))
        raise TrainingError(f"training.early_stopping.monitor: {monitor!r} is not measured; expected one of {known}")
    return float(logs[monitor])


def _loss_of(logs: dict | None) -> float:
    loss = (logs or {}).get("loss", math.nan)
    return float(np.ravel(loss)[0])
