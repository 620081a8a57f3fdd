"""Starts one decoding process, sends it file names and checks its replies."""

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
from typing import IO, Any, cast, get_args

import numpy as np

from mammo.images.film import REMARKS, Film, HeaderSide
from mammo.images.limits import MAX_PIXELS, MAX_SIDE_PX
from mammo.images.sandbox.worker import DONE, EXIT_OUT_OF_MEMORY, LENGTH_BYTES, MAX_FRAME_BYTES, READY, framed

START_SECONDS = 120.0  # an interpreter and its imports, on a busy machine
PIPE_BYTES = 2**20
BOOT = (
    "import sys; sys.path[:] = sys.argv[2:]; import json; "
    "from mammo.images.sandbox.worker import main; main(json.loads(sys.argv[1]))"
)
# The environment of the process: no variable among them can contain a password.
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
OF_ITS_OWN = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
DTYPES = {"film": ("uint16",), "pixels": ("uint8", "int8", "uint16", "int16"), "series": ()}
INVALID = "it returned an invalid reply"


@dataclass(frozen=True)
class Limits:
    """What one untrusted file may use.

    Attributes:
        seconds: Wall time for a file. Real films take 0.1 to 0.6 s.
        memory_bytes: Address space of the whole process (RLIMIT_AS). Measured on 16-bit noise in five codings: 3,000 ×
            5,000 pixels need 0.26 to 0.37 GB, 8,000 × 10,000 need 0.77 to 1.15 GB, JPEG 2000 the most. 2 GiB allow some
            150 million pixels; the 400 million that trusted files may have would need 5 GB.
        open_files: Open files at one time, those of the interpreter included.
        files: A new process starts after this many files, so that effects of one file do not last; 1 isolates each.
    """

    seconds: float = 60.0
    memory_bytes: int = 2**31
    open_files: int = 32
    files: int = 200


@dataclass(frozen=True)
class Answer:
    """A reply, checked for types and sizes only; `end` is a word of `worker`. What was not asked for is empty."""

    end: str
    text: str
    uid: str
    film: Film


class EndedError(Exception):
    """The process died, took too long or returned an invalid reply; the text says which."""


class NeverAskedError(Exception):
    """The process ended before it got the request, so the file is not the cause."""


class Process:
    """A decoding process; it reads one file at a time."""

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
            start_new_session=True,  # Ctrl-C ends the command, which then ends this process
        )
        self._requests, self._replies = cast(IO[bytes], self._popen.stdin), cast(IO[bytes], self._popen.stdout)
        self._ready = False

    def ask(self, operation: str, path: Path) -> Answer:
        """Have a file decoded.

        Raises:
            EndedError: There is no valid reply; the process cannot be used again.
            NeverAskedError: The same, before the process got the request.
        """
        try:
            self._wait_until_ready()
            request = {"operation": operation, "path": os.fsencode(os.path.abspath(path)).hex()}
            os.write(self._requests.fileno(), framed(request))
        except (EndedError, BrokenPipeError) as error:
            raise NeverAskedError(f"before it was asked: {error}") from error
        self.asked += 1
        return self._answer(operation, time.monotonic() + self.limits.seconds, self.limits.seconds)

    def kill(self) -> None:
        """End the process at once and leave no zombie."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel may delay its end
            self._popen.kill()
            self._popen.wait(5)
        self._close()

    def forget(self) -> None:
        """In a forked child: close the parent's pipes, so that the process still notices when the parent ends."""
        self._popen.returncode = 0
        self._close()

    def _close(self) -> None:
        self._requests.close()
        self._replies.close()

    def _wait_until_ready(self) -> None:
        if self._ready:
            return
        if hasattr(fcntl, "F_SETPIPE_SZ"):
            with contextlib.suppress(OSError):  # the user may have no pipe memory left; small pipes are only slower
                fcntl.fcntl(self._replies.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        message = self._message(time.monotonic() + START_SECONDS, START_SECONDS)
        if message.get("end") != READY:
            raise EndedError("it did not start")
        self._ready = True

    def _answer(self, operation: str, deadline: float, seconds: float) -> Answer:
        message = self._message(deadline, seconds)
        end, text, uid = (message.get(name, "") for name in ("end", "text", "uid"))
        bits = message.get("bits", 0)
        if not all(isinstance(word, str) for word in (end, text, uid)) or type(bits) is not int or not 0 <= bits <= 16:
            raise EndedError(INVALID)
        remarks, side = message.get("remarks", []), message.get("laterality", "")
        known = isinstance(remarks, list) and all(isinstance(key, str) and key in REMARKS for key in remarks)
        if not known or side not in get_args(HeaderSide):
            raise EndedError(INVALID)
        pixels = np.empty((0, 0), np.uint16)
        if end == DONE and DTYPES[operation]:
            pixels = _empty(message, operation)
            self._receive(pixels.reshape(-1).view(np.uint8).data, deadline, seconds)
        return Answer(end, text, uid, Film(pixels, bits, tuple(remarks), side, message.get("for_processing") is True))

    def _message(self, deadline: float, seconds: float) -> dict[str, Any]:
        head = bytearray(LENGTH_BYTES)
        self._receive(memoryview(head), deadline, seconds)
        length = int.from_bytes(head, "big")
        if not 0 < length <= MAX_FRAME_BYTES:
            raise EndedError(INVALID)
        body = bytearray(length)
        self._receive(memoryview(body), deadline, seconds)
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise EndedError(INVALID) from error
        if not isinstance(message, dict):
            raise EndedError(INVALID)
        return message

    def _receive(self, view: memoryview, deadline: float, seconds: float) -> None:
        """Fill a buffer from the process, which may die, hang or send without end."""
        handle = self._replies.fileno()
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
            return "it closed its output and continued"
        if code == EXIT_OUT_OF_MEMORY:
            return f"it needed more than the {self.limits.memory_bytes // 2**20} MiB that it may use"
        if code >= 0:
            return f"it ended with code {code}"
        names = {number.value: number.name for number in signal.Signals}
        return f"it was ended by {names.get(-code, f'signal {-code}')}"


def _empty(message: dict[str, Any], operation: str) -> np.ndarray:
    """Allocate the pixels that a reply announces, if their type and size are allowed."""
    shape, dtype = message.get("shape"), message.get("dtype")
    if dtype not in DTYPES[operation] or not isinstance(shape, list) or [type(side) for side in shape] != [int, int]:
        raise EndedError(INVALID)
    height, width = shape
    if min(shape) < 1 or max(shape) > MAX_SIDE_PX or height * width > MAX_PIXELS:
        raise EndedError(INVALID)
    return np.empty((height, width), dtype=dtype)
