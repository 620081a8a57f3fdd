"""Runs a decoding process: reads requests from standard input and writes replies with pixels to standard output.

It runs in an interpreter of its own. It sets its limits after its imports and before the first file.
"""

import os
import resource
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.pixels
from PIL import Image

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels
from mammo.images.dicom import DECODERS
from mammo.images.readers import read_series_uid
from mammo.images.sandbox.protocol import DONE, LENGTH_BYTES, OUT_OF_MEMORY, READY, REFUSED, framed, unframed

GRACE_SECONDS = 5  # the parent kills first; this alarm is for a parent that has died
EXIT_OUT_OF_MEMORY = 77
Answer = tuple[dict[str, Any], np.ndarray | None]


def main(limits: dict[str, Any]) -> None:
    """Answer requests until standard input ends, as it does when the parent has ended."""
    replies = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # decoders in C print there, and may quote what they read
        os.dup2(null, stream)
    warnings.simplefilter("ignore")
    _load_decoders()
    _set_limits(limits)
    _send(replies, framed({"end": READY}))
    while request := _next_request():
        signal.setitimer(signal.ITIMER_REAL, limits["seconds"] + GRACE_SECONDS)
        try:
            header, pixels = _answered(request)
            _send(replies, framed(header))
            if pixels is not None:
                _send(replies, pixels.reshape(-1).view(np.uint8).data)
        except MemoryError:
            os._exit(EXIT_OUT_OF_MEMORY)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _read(operation: str, path: Path) -> Answer:
    if operation == "film":
        film = read_film(path)
        header = {"remarks": film.remarks, "laterality": film.laterality, "for_processing": film.for_processing}
        return {"bits": film.bits, **header}, film.pixels
    if operation == "pixels":
        return {}, read_pixels(path)
    return {"uid": read_series_uid(path)}, None


def _answered(request: dict[str, Any]) -> Answer:
    path = Path(os.fsdecode(bytes.fromhex(request["path"])))
    try:
        header, pixels = _read(request["operation"], path)
    except ImageError as error:
        if _lacked_memory(error):
            return {"end": OUT_OF_MEMORY}, None
        return {"end": REFUSED, "text": str(error).removeprefix(f"{path}: ")}, None
    header["end"] = DONE
    if pixels is not None:
        pixels = np.ascontiguousarray(pixels)
        header |= {"shape": pixels.shape, "dtype": pixels.dtype.name}
    return header, pixels


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
    length = int.from_bytes(_received(LENGTH_BYTES), "big")
    return unframed(_received(length)) if length else None


def _received(count: int) -> bytes:
    parts = b""
    while len(parts) < count and (part := os.read(0, count - len(parts))):
        parts += part
    return parts if len(parts) == count else b""


def _send(stream: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]
