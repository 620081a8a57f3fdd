"""What an epoch measured in, `log.jsonl` and VisualDL's files out; steps go on where a resumed run left them."""

import contextlib
import io
import json
import logging
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from visualdl import LogWriter

from mammo.data.dataset import MammogramDataset
from mammo.errors import TrainingError
from mammo.images.normalise import DEVIATION, MEAN
from mammo.plots.epoch import draw_epoch
from mammo.plots.style import as_picture
from mammo.runs import VISUALDL_FILE
from mammo.runtime import paddle
from mammo.training.callbacks import RecallMetric
from mammo.training.wait_clock import WaitClock

logger = logging.getLogger(__name__)
EVERY_STEPS = 10
SAMPLES = 12


class JsonLog(paddle.callbacks.Callback):
    """Adds a line to `log.jsonl` per epoch: epoch, step, learning rate, every metric, and times."""

    def __init__(self, path: Path, clock: WaitClock) -> None:
        super().__init__()
        self._path, self._clock = path, clock

    def state(self) -> dict[str, Any]:
        """How long the file is."""
        return {"bytes": self._path.stat().st_size if self._path.exists() else 0}

    def restore(self, state: dict[str, Any]) -> None:
        """Drop the lines that were written after that: their epochs come again. Of a damaged file, whole lines stay."""
        _cut(self._path, state["bytes"])
        content = self._path.read_bytes() if self._path.exists() else b""
        if content and not content.endswith(b"\n"):
            os.truncate(self._path, content.rfind(b"\n") + 1)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Add the epoch's line."""
        metrics = {name: value for name, value in (logs or {}).items() if "/" in name}
        head = {"epoch": self.model.epoch + 1, "step": self.model.step, "learning_rate": self.model.optimizer.get_lr()}
        line = (
            head
            | metrics
            | {
                "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "time_training_s": round(self._clock.seconds, 2),
                "time_waiting_share": round(self._clock.share, 4),
            }
        )
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TrainingError(
                f"{self._path}: the epoch cannot be logged ({error.strerror or error}); free space, then go on with --resume"
            ) from error


class VisualDLLog(paddle.callbacks.Callback):
    """Logs scalars, augmented samples, ROC, PR and confusion figures and, on demand, weight histograms to VisualDL.

    Curves go as figures: VisualDL 2.5.3's own ROC and PR logging fails on NumPy 2.
    """

    def __init__(
        self, folder: Path, metric: RecallMetric, dataset: MammogramDataset, *, histograms: bool = False
    ) -> None:
        super().__init__()
        self._file, self._metric, self._dataset, self._histograms = folder / VISUALDL_FILE, metric, dataset, histograms
        self._writer: Any = None

    def state(self) -> dict[str, Any]:
        """How long the file is."""
        if self._writer:
            self._writer.flush()
        return {"bytes": self._file.stat().st_size if self._file.exists() else 0}

    def restore(self, state: dict[str, Any]) -> None:
        """Drop what was written after that: it comes again."""
        _cut(self._file, state["bytes"])

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Open the run's one file; VisualDL adds to what is there, and shows only one file of a folder."""
        with contextlib.redirect_stdout(io.StringIO()):  # it prints that the file exists
            self._writer = LogWriter(logdir=str(self._file.parent), file_name=self._file.name)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Show what augmentation makes of a dozen cases."""
        if self.model.epoch == self.model.batch == 0:
            for number, picture in enumerate(augmented_pictures(self._dataset, SAMPLES)):
                self._writer.add_image(f"augmented/{number}", picture, 0)

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Log the loss and the learning rate now and then."""
        if self.model.step % EVERY_STEPS == 0:
            self._writer.add_scalar("step/loss", float(np.ravel((logs or {})["loss"])[0]), self.model.step)
            self._writer.add_scalar("step/learning_rate", self.model.optimizer.get_lr(), self.model.step)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Log the epoch's scalars and validation's figures."""
        number = self.model.epoch + 1
        for name, value in (logs or {}).items():
            if "/" in name:
                self._writer.add_scalar(name, float(value), number)
        labels, scores = self._metric.scored["validation"]
        threshold = float((logs or {})["validation/threshold"])
        for name, figure in draw_epoch(labels, scores, threshold).items():
            self._writer.add_image(f"validation/{name}", as_picture(figure), number)
        if self._histograms:
            for name, parameter in self.model.network.named_parameters():
                self._writer.add_histogram(name, parameter.numpy().ravel(), number)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Write what is still waiting and close the file, also when training ends before its time."""
        if self._writer:
            self._writer.close()
            self._writer = None


def _cut(path: Path, size: int) -> None:
    have = path.stat().st_size if path.exists() else 0
    if have < size:
        logger.warning(
            "%s: is shorter than when the checkpoint was saved (%d bytes, then %d); its last lines are lost",
            path,
            have,
            size,
        )
    elif have > size:
        os.truncate(path, size)


def augmented_pictures(dataset: MammogramDataset, count: int) -> list[np.ndarray]:
    """What the network sees of the first cases: uint8 [height, width, 3] each, views side by side."""
    pictures = []
    for number in range(min(count, len(dataset))):
        image = dataset[number].image[:, 0]
        unit = np.concatenate(list(image), axis=1) * DEVIATION + MEAN
        pictures.append(np.repeat((np.clip(unit, 0, 1) * 255).astype(np.uint8)[:, :, None], 3, axis=2))
    return pictures
