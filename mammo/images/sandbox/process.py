"""One decoding process, seen from outside: a file's name goes in; an answer, or how the process ended, comes out."""

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from mammo.images.film import HeaderSide
from mammo.images.guards import MAX_PIXELS, MAX_SIDE_PX
from mammo.images.remarks import REMARKS
from mammo.images.sandbox.protocol import DONE, LENGTH_BYTES, MAX_FRAME_BYTES, READY, framed, unframed
from mammo.images.sandbox.worker import EXIT_OUT_OF_MEMORY

START_SECONDS = 120.0  # an interpreter and its imports, on a machine that is busy with other things
PIPE_BYTES = 2**20
BOOT = "import sys; sys.path[:] = sys.argv[2:]; import json; from mammo.images.sandbox.worker import main; main(json.loads(sys.argv[1]))"
# What the process may know of its surroundings: no variable that could hold a password is among them.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
OF_ITS_OWN = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
DTYPES = {"film": ("uint16",), "pixels": ("uint8", "int8", "uint16", "int16"), "series": ()}


@dataclass(frozen=True)
class Limits:
    """What one file from a stranger may cost.

    Attributes:
        seconds: Of wall time a file. Real films take 0.1 to 0.6 s.
        memory_bytes: Address space of the whole process (RLIMIT_AS). Measured, 16-bit noise in five codings: 3,000 × 5,000 pixels
            need 0.26 to 0.37 GB, 8,000 × 10,000 need 0.77 to 1.15 GB, JPEG 2000 the most; 2 GiB end at some 150 million pixels,
            and the 400 million that trusted files may have would need 5 GB.
        open_files: At once; what the interpreter holds is among them.
        files: After so many a fresh process takes over, so that what one file did to it does not last; 1 keeps files apart.
    """

    seconds: float = 60.0
    memory_bytes: int = 2**31
    open_files: int = 32
    files: int = 200


@dataclass(frozen=True)
class Answer:
    """What the process said: `end` as `door_wire` has it, all checked for type and size, nothing of it to be trusted beyond that."""

    end: str
    text: str = ""
    uid: str = ""
    bits: int = 0
    remarks: tuple[str, ...] = ()
    laterality: HeaderSide = ""
    for_processing: bool = False
    pixels: np.ndarray | None = None


class EndedError(Exception):
    """The process died, overran its time or spoke nonsense; the text completes `while decoding …`."""


class NeverAskedError(Exception):
    """The process was gone before it was asked: the file has no part in that."""


class Process:
    """A decoding process; one file at a time."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.asked = 0
        paths = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
        encoding = f"utf8={int(sys.flags.utf8_mode)}"
        self._popen = subprocess.Popen(
            [sys.executable, "-I", "-B", "-X", encoding, "-c", BOOT, json.dumps(asdict(limits)), *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            cwd="/",
            env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | OF_ITS_OWN,
            start_new_session=True,  # Ctrl-C ends the command, which then closes the door in good order
        )
        self._ready = False

    def ask(self, operation: str, path: Path) -> Answer:
        """Have a file decoded.

        Raises:
            EndedError: It came to no answer; the process is of no more use.
            NeverAskedError: The same, but before it was given the file.
        """
        try:
            self._wait_until_ready()
            stream = self._popen.stdin
            request = {"operation": operation, "path": os.fsencode(os.path.abspath(path)).hex()}
            os.write(stream.fileno() if stream else -1, framed(request))
        except (EndedError, BrokenPipeError) as error:
            raise NeverAskedError(f"before it was asked: {error}") from error
        self.asked += 1
        return self._answer(operation, time.monotonic() + self.limits.seconds, self.limits.seconds)

    def kill(self) -> None:
        """End it at once and leave no zombie."""
        with contextlib.suppress(
            subprocess.TimeoutExpired
        ):  # one that hangs in the kernel is reaped when it comes back
            self._popen.kill()
            self._popen.wait(5)
        self._close()

    def forget(self) -> None:
        """In a forked child: let go of what is the parent's, so that the process still notices when the parent ends."""
        self._popen.returncode = 0
        self._close()

    def _close(self) -> None:
        for stream in (self._popen.stdin, self._popen.stdout):
            if stream:
                stream.close()

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        stream = self._popen.stdout
        if stream and hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # a user's pipes may be used up; smaller ones are slower only
                fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        message = self._message(time.monotonic() + START_SECONDS, START_SECONDS)
        if message.get("end") != READY:
            raise EndedError("it did not start")
        self._ready = True

    def _answer(self, operation: str, deadline: float, seconds: float) -> Answer:
        message = self._message(deadline, seconds)
        end, text, uid = (message.get(name, "") for name in ("end", "text", "uid"))
        bits = message.get("bits", 0)
        if not all(isinstance(word, str) for word in (end, text, uid)) or type(bits) is not int or not 0 <= bits <= 16:
            raise EndedError("it answered nonsense")
        remarks, side = message.get("remarks", []), message.get("laterality", "")
        if (
            not isinstance(remarks, list)
            or not all(isinstance(key, str) and key in REMARKS for key in remarks)
            or side not in get_args(HeaderSide)
        ):
            raise EndedError("it answered nonsense")
        pixels = None
        if end == DONE and DTYPES[operation]:
            pixels = _empty(message, operation)
            self._receive(pixels.reshape(-1).view(np.uint8).data, deadline, seconds)
        return Answer(end, text, uid, bits, tuple(remarks), side, message.get("for_processing") is True, pixels)

    def _message(self, deadline: float, seconds: float) -> dict[str, Any]:
        head = bytearray(LENGTH_BYTES)
        self._receive(memoryview(head), deadline, seconds)
        length = int.from_bytes(head, "big")
        if not 0 < length <= MAX_FRAME_BYTES:
            raise EndedError("it answered nonsense")
        body = bytearray(length)
        self._receive(memoryview(body), deadline, seconds)
        try:
            return unframed(bytes(body))
        except ValueError as error:
            raise EndedError("it answered nonsense") from error

    def _receive(self, view: memoryview, deadline: float, seconds: float) -> None:
        """Fill a buffer from the process, which may die, stop or go on for ever meanwhile."""
        handle = self._popen.stdout.fileno() if self._popen.stdout else -1
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        while view:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise EndedError(f"it took longer than {seconds:g} s")
            count = os.readv(handle, [view])
            if count == 0:
                raise EndedError(self._death())
            view = view[count:]

    def _death(self) -> str:
        try:
            code = self._popen.wait(5)
        except subprocess.TimeoutExpired:
            return "it closed its answer and went on"
        if code == EXIT_OUT_OF_MEMORY:
            return f"it needed more than the {self.limits.memory_bytes // 2**20} MiB that it may use"
        if code < 0:
            return f"it was ended by {_signal_name(-code)}"
        return f"it ended with code {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _empty(message: dict[str, Any], operation: str) -> np.ndarray:
    """Make room for the pixels that were promised, where the promise keeps the bounds of every image."""
    shape, dtype = message.get("shape"), message.get("dtype")
    if dtype not in DTYPES[operation] or not isinstance(shape, list) or len(shape) != 2:
        raise EndedError("it answered nonsense")
    height, width = shape
    if (
        type(height) is not int
        or type(width) is not int
        or min(shape) < 1
        or max(shape) > MAX_SIDE_PX
        or height * width > MAX_PIXELS
    ):
        raise EndedError("it answered nonsense")
    return np.empty((height, width), dtype=dtype)
