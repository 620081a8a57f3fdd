"""SIGINT and SIGTERM come in; while steps run they are held back until a step is whole, elsewhere they end the work at once."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mammo.errors import Stopped

logger = logging.getLogger(__name__)
NUMBERS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """A context in which the first signal only sets `asked`; a second one ends the work where it stands (`impatient`)."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self.impatient = False
        self._holding = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in NUMBERS}
        self._holding = True
        return self

    def __exit__(self, *_: object) -> None:
        self._holding = False
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Hold nothing back in a block that may be cut off anywhere, such as scoring.

        Raises:
            Stopped: A signal comes, or has come before.
        """
        self.check()
        self._holding = False
        try:
            yield
        finally:
            self._holding = True

    def check(self) -> None:
        """End the work, if that was asked for.

        Raises:
            Stopped: It was.
        """
        if self.asked is not None:
            raise Stopped(self.asked)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.impatient = self.asked is not None
        self.asked = number
        if self.impatient or not self._holding:
            raise Stopped(number)
        logger.info("stopping after this step, which is saved; a second signal stops at once")
