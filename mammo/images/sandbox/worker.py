"""Runs a decoding process: reads requests from standard input and writes replies with pixels to standard output.

It runs in an interpreter of its own. It sets its limits after its imports and before the first file. A message is a
length, then JSON; raw pixels may follow.
"""

import json
import os
import resource
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.pixels
from PIL import Image

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels, read_series_uid
from mammo.images.dicom import DECODERS

GRACE_SECONDS = 5  # the parent kills first; this alarm is for a parent that has died
EXIT_OUT_OF_MEMORY = 77
MAX_FRAME_BYTES = 2**16
LENGTH_BYTES = 4
# How a reply ends. Pixels follow `done` only, and only if the reply has a `shape`.
READY, DONE, REFUSED, OUT_OF_MEMORY = "ready", "done", "refused", "out of memory"


def main(limits: dict[str, Any]) -> None:
    """Answer requests until standard input ends, as it does when the parent has ended."""
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders in C print there, and may quote what they read
        os.dup2(null, stream)
    warnings.simplefilter("ignore")
    _load_decoders()
    _set_limits(limits)
    replies.write(framed({"end": READY}))
    replies.flush()
    while request := _next_request():
        signal.setitimer(signal.ITIMER_REAL, limits["seconds"] + GRACE_SECONDS)
        try:
            header, pixels = _answered(request)
            replies.write(framed(header))
            if pixels is not None:
                replies.write(pixels.reshape(-1).view(np.uint8).data)
            replies.flush()
        except MemoryError:
            os._exit(EXIT_OUT_OF_MEMORY)
        signal.setitimer(signal.ITIMER_REAL, 0)


def framed(message: dict[str, Any]) -> bytes:
    """Turn a message into bytes: its length, then its JSON."""
    body = json.dumps(message).encode()
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def _answered(request: dict[str, Any]) -> tuple[dict[str, Any], np.ndarray | None]:
    path, operation = Path(os.fsdecode(bytes.fromhex(request["path"]))), request["operation"]
    try:
        if operation == "series":
            return {"end": DONE, "uid": read_series_uid(path)}, None
        header: dict[str, Any] = {"end": DONE}
        if operation == "film":
            film = read_film(path)
            pixels = film.pixels
            header |= {"bits": film.bits, "remarks": film.remarks, "laterality": film.laterality}
            header["for_processing"] = film.for_processing
        else:
            pixels = read_pixels(path)
    except ImageError as error:
        if _lacked_memory(error):
            return {"end": OUT_OF_MEMORY}, None
        return {"end": REFUSED, "text": str(error).removeprefix(f"{path}: ")}, None
    return header | {"shape": pixels.shape, "dtype": pixels.dtype.name}, np.ascontiguousarray(pixels)


def _lacked_memory(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, MemoryError):
        error = error.__cause__ or error.__context__
    return error is not None


def _load_decoders() -> None:
    """Import now what decoding would import later, within the limits."""
    Image.init()
    for syntax in DECODERS:
        pydicom.pixels.get_decoder(syntax).available_plugins  # noqa: B018


def _set_limits(limits: dict[str, Any]) -> None:
    """Set limits that an ordinary user cannot raise again. RLIMIT_FSIZE does not apply to pipes."""
    bounds = {
        resource.RLIMIT_AS: limits["memory_bytes"],
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: limits["open_files"],
        resource.RLIMIT_NPROC: 0,
    }
    for kind, bound in bounds.items():
        _, hard = resource.getrlimit(kind)
        lowest = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (lowest, lowest))


def _next_request() -> dict[str, Any] | None:
    head = sys.stdin.buffer.read(LENGTH_BYTES)
    return json.loads(sys.stdin.buffer.read(int.from_bytes(head, "big"))) if head else None
