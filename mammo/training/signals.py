"""Handles SIGINT and SIGTERM: they wait for the end of a training step; elsewhere they end the work at once."""

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from types import FrameType

from mammo.errors import Stopped

logger = logging.getLogger(__name__)
NUMBERS = (signal.SIGINT, signal.SIGTERM)
MOST_SIGNALS = 2
PATIENCE_S = 5.0


class StopSignals:
    """A context in which the first signal only sets `asked`; a second one ends the work where it is (`impatient`).

    Python handles no signal while paddle waits for a batch that does not come, say from a network disk that is gone. A
    thread receives the second one all the same, and ends the process if it has not ended after `PATIENCE_S`.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.impatient = False
        self._holding = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._take) for number in NUMBERS}
            self._receiver, self._sender = socket.socketpair()
            self._sender.setblocking(False)
            signal.set_wakeup_fd(self._sender.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(self._receiver,), daemon=True).start()
        self._holding = True
        return self

    def __exit__(self, *_: object) -> None:
        self._holding = False
        if self.impatient:  # a worker that is stopped, or waits for a disk, receives no softer signal
            _kill_workers()
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        if self._before:
            signal.set_wakeup_fd(-1)
            self._sender.close()  # which ends the thread

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Raise `Stopped` anywhere in a block, such as scoring, where a signal comes, or before it if one has come."""
        self.check()
        self._holding = False
        try:
            yield
        finally:
            self._holding = True

    def check(self) -> None:
        """Raise `Stopped` if a signal has asked for it."""
        if self.asked is not None:
            raise Stopped(self.asked)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.impatient = self.asked is not None
        self.asked = number
        if self.impatient or not self._holding:
            raise Stopped(number)
        logger.info("stopping after this step, which is saved; a second signal stops at once")

    def _listen(self, receiver: socket.socket) -> None:
        count = 0
        with receiver:
            while number := receiver.recv(1):
                count += number[0] in NUMBERS
                if count == MOST_SIGNALS and _stays_open(receiver):
                    _kill_workers()
                    message = f"mammo: error: {Stopped(number[0])} while waiting for data; nothing more is saved"
                    os.write(sys.stderr.fileno(), f"{message}\n".encode())
                    os._exit(128 + number[0])


def _stays_open(receiver: socket.socket) -> bool:
    """Whether the context has not ended after `PATIENCE_S`."""
    receiver.settimeout(PATIENCE_S)
    try:
        while receiver.recv(1):
            pass
    except TimeoutError:
        return True
    return False


def _kill_workers() -> None:
    for worker in active_children():
        worker.kill()
