"""Sandboxed decoder: reads untrusted files in separate processes with limits of time and memory.

A process that dies, hangs or exceeds a limit is replaced, and another one reads the next file. A reply is data, never
code, and no size in it is trusted. A process cannot make a file longer and cannot start processes, except as root. If
malicious code runs in it, it can still read, empty and delete this user's files and use the network: a container or a
separate user account prevents that.
"""

import atexit
import functools
import logging
import os
import threading
from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.images.dicom_walk import UID
from mammo.images.film import Film
from mammo.images.sandbox.process import Answer, EndedError, Limits, NeverAskedError, Process
from mammo.images.sandbox.worker import DONE, OUT_OF_MEMORY, REFUSED

log = logging.getLogger(__name__)

DEFAULT_LIMITS = Limits()
MOST_IDLE = 4
LONGEST_TEXT = 600
STARTS = 3
ADVICE = "it is damaged or malicious: leave it out"


def read_untrusted_film(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> Film:
    """Decode one mammogram as `decode.read_film` does, in a decoding process. Several threads may call this at once.

    Raises:
        ImageError: As for `read_film`; or the process died, took too long or needed too much memory. One line.
    """
    return _ask("film", path, limits).film


def read_untrusted_pixels(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """Decode one file as `decode.read_pixels` does, in a decoding process; raises as `read_untrusted_film` does."""
    return _ask("pixels", path, limits).film.pixels


def read_untrusted_series_uid(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> str:
    """Read a UID as `decode.read_series_uid` does, in a decoding process; raises as `read_untrusted_film` does."""
    uid = _ask("series", path, limits).uid
    return uid if UID.fullmatch(uid) else ""


def end_processes() -> None:
    """End all decoding processes; the next file starts a new one. The end of the interpreter calls this too."""
    with _pool.lock:
        processes, _pool.all = _pool.all, set()
        _pool.idle.clear()
    for process in processes:
        process.kill()


class _Pool:
    """The decoding processes of this Python process: the busy ones, and a few idle ones."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.all: set[Process] = set()
        self.idle: list[Process] = []

    def take(self, limits: Limits, *, fresh: bool) -> Process:
        """Return an idle or new process; an idle one may have ended meanwhile."""
        with self.lock:
            _register_hooks()
            for process in [] if fresh else self.idle:
                if process.limits == limits:
                    self.idle.remove(process)
                    return process
            process = Process(limits)
            self.all.add(process)
            return process

    def give_back(self, process: Process, *, usable: bool) -> None:
        """Keep a usable process for the next file; end it if it has read its share of files or enough are idle."""
        with self.lock:
            known = usable and process in self.all
            keep = known and process.asked < process.limits.files and len(self.idle) < MOST_IDLE
            if keep:
                self.idle.append(process)
        if not keep:
            process.kill()
            with self.lock:
                self.all.discard(process)


_pool = _Pool()


@functools.cache
def _register_hooks() -> None:
    """Register, once, what ends the processes with the interpreter and keeps them from forked children."""
    atexit.register(end_processes)
    # A fork waits for the lock, so that the child gets a consistent pool.
    os.register_at_fork(before=_pool.lock.acquire, after_in_parent=_pool.lock.release, after_in_child=_forget_processes)


def _forget_processes() -> None:
    for process in _pool.all:
        process.forget()
    _pool.all, _pool.idle = set(), []
    _pool.lock.release()


def _ask(operation: str, path: Path, limits: Limits) -> Answer:
    """Try up to `STARTS` processes: an idle one may have ended, and a used one may lack memory that a new one has."""
    fresh = False
    for _ in range(STARTS):
        try:
            process = _pool.take(limits, fresh=fresh)
        except OSError as error:
            reason = error.strerror or error
            raise ImageError(f"{path}: cannot start a decoding process ({reason}); check memory and limits") from error
        usable = False
        try:
            answer = process.ask(operation, path)
            usable = answer.end != OUT_OF_MEMORY
        except NeverAskedError as error:
            log.debug("a decoding process ended %s", error)
            continue
        except EndedError as error:
            log.info("a decoding process was replaced: %s", error)
            raise ImageError(f"{path}: the process that decoded it was stopped: {error}; {ADVICE}") from error
        finally:  # also after Ctrl-C: a late answer would be taken for that of the next file
            _pool.give_back(process, usable=usable)
        if usable:
            return _checked(answer, path)
        if process.asked == 1:
            log.info("a decoding process was replaced: it ran out of memory")
            most = f"the {limits.memory_bytes // 2**20} MiB that it may use"
            raise ImageError(f"{path}: decoding it needs more than {most}; {ADVICE}, or scale it down")
        fresh = True
    raise ImageError(f"{path}: no decoding process starts, {STARTS} tried; check this machine's memory and processes")


def _checked(answer: Answer, path: Path) -> Answer:
    if answer.end == REFUSED:
        line = "".join(letter for letter in " ".join(answer.text.split()) if letter.isprintable())
        raise ImageError(f"{path}: {line[:LONGEST_TEXT] or 'it was refused without a reason'}")
    if answer.end != DONE:
        raise ImageError(f"{path}: the process that decoded it returned an invalid reply; {ADVICE}")
    return answer
