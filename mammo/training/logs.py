"""Writes `log.jsonl` and VisualDL's file, and shows progress; a resumed run goes on in the same files."""

import contextlib
import io
import json
import logging
import os
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from visualdl import LogWriter

from mammo.data.dataset import MammogramDataset
from mammo.errors import TrainingError
from mammo.images.network_input import DEVIATION, MEAN
from mammo.plots.curves import draw_epoch
from mammo.plots.style import as_picture
from mammo.progress import SECONDS_BETWEEN_LINES
from mammo.runs import VISUALDL_FILE
from mammo.runtime import paddle
from mammo.training.epoch_metrics import RecallMetric
from mammo.training.trainer import StatefulCallback

logger = logging.getLogger(__name__)
EVERY_STEPS = 10
SAMPLES = 12
MUCH_WAITING = 0.03


class WaitClock(paddle.callbacks.Callback):
    """Measures what share of an epoch's training the network waits for images.

    Waiting is from the end of one step, with all that is saved and shown after it, to the start of the next. Therefore
    this callback comes last.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = self._last_end = self._waited = 0.0

    @property
    def seconds(self) -> float:
        """How long the epoch's steps took, with waiting and without scoring."""
        return self._last_end - self._begun

    @property
    def epoch_s(self) -> float:
        """How long the epoch has taken until now, with scoring."""
        return time.perf_counter() - self._begun

    @property
    def share(self) -> float:
        """The share of waiting, 0-1; starting the loader's processes is part of it."""
        return self._waited / self.seconds if self.seconds > 0 else 0.0

    def advice(self) -> str:
        """What to report of much waiting; empty for little."""
        if self.share <= MUCH_WAITING:
            return ""
        return f", {self.share:.0%} of it waiting for images: raise training.workers"

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start from zero."""
        self._begun = self._last_end = time.perf_counter()
        self._waited = 0.0

    def on_train_batch_begin(self, step: int, logs: dict | None = None) -> None:
        """Count the time since the last step as waiting."""
        self._waited += time.perf_counter() - self._last_end

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Note the end of the step."""
        self._last_end = time.perf_counter()


class LogFile(StatefulCallback):
    """A file that grows from epoch to epoch; its length is saved with the run."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def state(self) -> dict[str, Any]:
        """The length of the file."""
        return {"bytes": self._path.stat().st_size if self._path.exists() else 0}

    def restore(self, state: dict[str, Any]) -> None:
        """Cut off what was written after that state: a resumed run writes it again."""
        now = self._path.stat().st_size if self._path.exists() else 0
        if now > state["bytes"]:
            os.truncate(self._path, state["bytes"])
        elif now < state["bytes"]:
            logger.warning("%s: is shorter than when the checkpoint was saved; its last lines are lost", self._path)


class JsonLog(LogFile):
    """Adds a line to `log.jsonl` per epoch: epoch, step, learning rate, every metric, and times."""

    def __init__(self, path: Path, clock: WaitClock) -> None:
        super().__init__(path)
        self._clock = clock

    def restore(self, state: dict[str, Any]) -> None:
        """Cut off the lines written after that state; of a damaged file, whole lines are kept."""
        super().restore(state)
        content = self._path.read_bytes() if self._path.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(self._path, content.rfind(b"\n") + 1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add the epoch's line.

        Raises:
            TrainingError: The file cannot be written.
        """
        line = {
            "epoch": self.model.epoch + 1,
            "step": self.model.step,
            "learning_rate": self.model.optimizer.get_lr(),
            **{name: value for name, value in (logs or {}).items() if "/" in name},
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "time_epoch_s": round(self._clock.epoch_s, 2),
            "time_training_s": round(self._clock.seconds, 2),
            "time_waiting_share": round(self._clock.share, 4),
        }
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            what = f"{self._path}: the epoch cannot be logged ({error.strerror or error})"
            raise TrainingError(f"{what}; free space, then go on with --resume") from error


class VisualDLLog(LogFile):
    """Logs to VisualDL: scalars, augmented samples, the figures of `draw_epoch` and, as an option, weight histograms.

    Curves are logged as figures: the ROC and PR logging of VisualDL 2.5.3 fails on NumPy 2.
    """

    def __init__(self, folder: Path, metric: RecallMetric, dataset: MammogramDataset, *, histograms: bool) -> None:
        super().__init__(folder / VISUALDL_FILE)
        self._metric, self._dataset, self._histograms = metric, dataset, histograms
        self._writer: Any = None

    def state(self) -> dict[str, Any]:
        """The length of the file."""
        if self._writer:
            self._writer.flush()
        return super().state()

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Open the run's one file; VisualDL adds to it, and shows only one file of a folder."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that the file exists
            self._writer = LogWriter(logdir=str(self._path.parent), file_name=self._path.name)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Log some augmented cases as the network sees them, once."""
        if self.model.epoch == self.model.batch == 0:
            for number in range(min(SAMPLES, len(self._dataset))):
                views = np.hstack(list(self._dataset[number].image[:, 0]))  # side by side
                gray = (np.clip(views * DEVIATION + MEAN, 0, 1) * 255).astype(np.uint8)
                self._writer.add_image(f"augmented/{number}", np.repeat(gray[:, :, None], 3, axis=2), 0)

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Log the loss and the learning rate of every tenth step."""
        if self.model.step % EVERY_STEPS == 0:
            self._writer.add_scalar("step/loss", self.model.last_loss, self.model.step)
            self._writer.add_scalar("step/learning_rate", self.model.optimizer.get_lr(), self.model.step)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Log the epoch's scalars, figures and histograms."""
        number, values = self.model.epoch + 1, logs or {}
        for name, value in values.items():
            if "/" in name:
                self._writer.add_scalar(name, float(value), number)
        if "validation" in self._metric.scored:
            labels, scores = self._metric.scored["validation"]
            for name, figure in draw_epoch(labels, scores, float(values["validation/threshold"])).items():
                self._writer.add_image(f"validation/{name}", as_picture(figure), number)
        if self._histograms:
            for name, parameter in self.model.network.named_parameters():
                self._writer.add_histogram(name, parameter.numpy().ravel(), number)

    def close(self) -> None:
        """Write what is not written yet and close the file, also when training ends early."""
        if self._writer:
            self._writer.close()
            self._writer = None


class ProgressDisplay(paddle.callbacks.Callback):
    """A bar on a terminal, plain lines elsewhere; one line of metrics per epoch on both."""

    def __init__(self, epochs: int, steps: int, clock: WaitClock) -> None:
        super().__init__()
        self._epochs, self._steps, self._clock = epochs, steps, clock
        self._bar: Progress | None = None
        self._start = self._last = 0.0

    @property
    def _epoch(self) -> str:
        return f"epoch {self.model.epoch + 1}/{self._epochs}"

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the epoch's bar."""
        self._start = self._last = time.monotonic()
        if sys.stdout.isatty():
            columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, transient=True)
            self._bar.add_task(self._epoch, total=self._steps)
            self._bar.start()

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Move the bar, or print a line from time to time."""
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=self.model.batch)
        elif time.monotonic() - self._last > SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            done = f"step {self.model.batch} of {self._steps}"
            print(f"{self._epoch}: {done}, loss {self.model.last_loss:.3f}", flush=True)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Print the epoch's line."""
        self.close()
        values = logs or {}
        parts = [part for part in ("train", "validation") if f"{part}/auc" in values]
        shown = [f"{part} {values[f'{part}/auc']:.3f}/{values[f'{part}/recall']:.2f}" for part in parts]
        measured = f"  AUC/recall {', '.join(shown)}" if shown else ""
        head = f"{self._epoch}  loss {values['train/loss_augmented']:.3f}{measured}"
        print(f"{head}  {time.monotonic() - self._start:.0f} s{self._clock.advice()}", flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar:
            self._bar.stop()
            self._bar = None
