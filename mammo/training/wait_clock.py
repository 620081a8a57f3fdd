"""Measures what share of an epoch's training the network waits for images."""

import time

from mammo.runtime import paddle

MUCH = 0.03


class WaitClock(paddle.callbacks.Callback):
    """From the end of one step, with all that is saved and shown after it, to the beginning of the next: comes last in the list."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = self._last = self._ended = 0.0
        self._waited = 0.0

    @property
    def seconds(self) -> float:
        """How long the epoch's steps took, waiting included; scoring is not."""
        return self._ended - self._begun

    @property
    def share(self) -> float:
        """Of that, what was waited, 0-1; the start of the loader's processes is part of it."""
        return self._waited / self.seconds if self.seconds > 0 else 0.0

    def advice(self) -> str:
        """What to say of much waiting; nothing of little."""
        return f", {self.share:.0%} of it waiting for images: raise training.workers" if self.share > MUCH else ""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start anew."""
        self._begun = self._last = self._ended = time.perf_counter()
        self._waited = 0.0

    def on_train_batch_begin(self, step: int, logs: dict | None = None) -> None:
        """A batch has come."""
        self._waited += time.perf_counter() - self._last

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Another is wanted."""
        self._last = self._ended = time.perf_counter()
