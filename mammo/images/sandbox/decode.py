"""The guarded door: a file from a stranger enters and is decoded in a process of its own; a film, or one clear error, leaves.

The process has limits of time and memory; when it dies, hangs or breaks a limit it is replaced, and the next file is read by
another. Nothing that it says is run, and no size that it names is believed. It can make no file longer and, but for root's,
start no process. Taken over, it may still read, empty and remove this user's files and use the network: the operating
system's means (a container, a user of its own) close that door.
"""

import atexit
import logging
import os
import threading
from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.images.film import Film
from mammo.images.sandbox.process import Answer, EndedError, Limits, NeverAskedError, Process
from mammo.images.sandbox.protocol import DONE, OUT_OF_MEMORY, REFUSED
from mammo.images.series import UID

log = logging.getLogger(__name__)

DEFAULT_LIMITS = Limits()
MOST_IDLE = 4
LONGEST_TEXT = 600
STARTS = 3
ADVICE = "it is damaged or meant to do harm: leave it out"


def read_untrusted_film(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Film:
    """Decode one mammogram as `decode.read_film` does, in a process of its own. Several threads may call this at once.

    Raises:
        ImageError: As for `read_film`, or the process died, took too long or needed too much. One line.
    """
    answer = _ask("film", path, limits)
    return Film(_array(answer), answer.bits, answer.remarks, answer.laterality, answer.for_processing)


def read_untrusted_pixels(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Decode one file to its stored values as `decode.read_pixels` does, in a process of its own; for masks.

    Raises:
        ImageError: As for `read_untrusted_film`.
    """
    return _array(_ask("pixels", path, limits))


def read_untrusted_series_uid(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> str:
    """Read a file's SeriesInstanceUID as `series.read_series_uid` does, in a process of its own.

    Raises:
        ImageError: As for `read_untrusted_film`.
    """
    uid = _ask("series", path, limits).uid
    return uid if UID.fullmatch(uid) else ""


def close_door() -> None:
    """End all decoding processes; the next file starts a fresh one. It is done by itself when the interpreter ends."""
    with _pool.lock:
        processes, _pool.all = _pool.all, set()
        _pool.idle.clear()
    for process in processes:
        process.kill()


class _Pool:
    """The decoding processes of this process: those at work, and a few that wait for the next file."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.all: set[Process] = set()
        self.idle: list[Process] = []

    def take(self, limits: Limits, *, fresh: bool) -> Process:
        """Give out a process that nobody else uses, which is not yet checked for life."""
        _register_once()
        with self.lock:
            for process in [] if fresh else self.idle:
                if process.limits == limits:
                    self.idle.remove(process)
                    return process
            process = Process(limits)
            self.all.add(process)
            return process

    def give_back(self, process: Process) -> None:
        """Keep it for the next file, unless it has served its time or enough others wait."""
        with self.lock:
            keep = process.asked < process.limits.files and len(self.idle) < MOST_IDLE and process in self.all
            if keep:
                self.idle.append(process)
        if not keep:
            self.drop(process)

    def drop(self, process: Process) -> None:
        """End it."""
        process.kill()
        with self.lock:
            self.all.discard(process)


_pool = _Pool()
_registered = threading.Event()


def _register_once() -> None:
    """See to it that forked children and the end of the interpreter leave the processes in order."""
    if _registered.is_set():
        return
    _registered.set()
    atexit.register(close_door)
    # The lock is held across a fork, so that the child finds the pool whole and can let go of it.
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_forget)


def _hold() -> None:
    _pool.lock.acquire()


def _let_go() -> None:
    _pool.lock.release()


def _forget() -> None:
    for process in _pool.all:
        process.forget()
    _pool.lock, _pool.all, _pool.idle = threading.Lock(), set(), []


def _ask(operation: str, path: Path, limits: Limits) -> Answer:
    """Ask until a process has heard the question; a file that was too large for a used process gets a fresh one's memory."""
    fresh = False
    for _ in range(STARTS):
        process = _taken(path, limits, fresh=fresh)
        try:
            answer = process.ask(operation, path)
        except NeverAskedError as error:
            log.debug("a decoding process ended %s", error)
            _pool.drop(process)
            continue
        except EndedError as error:
            _pool.drop(process)
            log.info("a decoding process was replaced: %s", error)
            raise ImageError(f"{path}: the process that decoded it was stopped: {error}; {ADVICE}") from error
        except BaseException:  # Ctrl-C, say: its answer would be taken for the next file's
            _pool.drop(process)
            raise
        if answer.end != OUT_OF_MEMORY:
            _pool.give_back(process)
            return _checked(answer, path)
        _pool.drop(process)
        if process.asked == 1:
            log.info("a decoding process was replaced: it ran out of memory")
            most = limits.memory_bytes // 2**20
            raise ImageError(
                f"{path}: decoding it needs more than the {most} MiB that it may use; {ADVICE}, or scale it down"
            )
        fresh = True
    raise ImageError(
        f"{path}: no decoding process starts, {STARTS} tried; see that this machine has memory and processes left"
    )


def _taken(path: Path, limits: Limits, *, fresh: bool) -> Process:
    try:
        return _pool.take(limits, fresh=fresh)
    except OSError as error:
        raise ImageError(
            f"{path}: no decoding process can be started ({error.strerror or error}); see what this machine lacks"
        ) from error


def _checked(answer: Answer, path: Path) -> Answer:
    if answer.end == REFUSED:
        raise ImageError(f"{path}: {_in_one_line(answer.text)}")
    if answer.end != DONE:
        raise ImageError(f"{path}: the process that decoded it answered nonsense; {ADVICE}")
    return answer


def _in_one_line(text: str) -> str:
    """Make a stranger's words harmless to a terminal and a log: printable, on one line, and not long."""
    line = " ".join(text.split())
    return (
        "".join(letter for letter in line if letter.isprintable())[:LONGEST_TEXT] or "it was refused without a reason"
    )


def _array(answer: Answer) -> np.ndarray:
    if answer.pixels is None:
        raise ImageError("a decoding process answered without pixels")
    return answer.pixels
