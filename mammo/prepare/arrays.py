"""Writes prepared arrays as whole files, and reads them with a check of their checksum."""

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mammo.errors import StoreError
from mammo.files import written_beside


def read_checked(path: Path, crc32: int) -> np.ndarray:
    """Read a prepared array as read-only after checking every byte of its file.

    Measured with the file in the system's cache and the pixels then converted to float32: 0.06 ms for a crop of
    291 × 291 pixels (0.09 ms memory-mapped without the check), 0.41 ms for a film of 1152 × 896 (0.20 ms).

    Args:
        path: The file.
        crc32: The checksum of the whole file, from its entry in the index.

    Raises:
        StoreError: The file is missing, or a byte of it has changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error
    if zlib.crc32(content) != crc32:
        raise _damaged(path, f"{len(content)} bytes whose checksum is not what was written")
    stream = io.BytesIO(content)
    try:
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def write_array(path: Path, pixels: np.ndarray) -> int:
    """Write an array beside its name and rename it into place.

    It is not flushed to the disk, which takes longer than preparing the array: after a power cut the checksum shows
    what is missing, and that is prepared again.

    Returns:
        The CRC-32 of the file.

    Raises:
        StoreError: It cannot be written; no part of it remains.
    """
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(pixels), version=(1, 0), allow_pickle=False)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        with written_beside(path, durable=False) as beside:
            beside.write_bytes(stream.getbuffer())
    return zlib.crc32(stream.getbuffer())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's error about a failed write into one line that names the path.

    Raises:
        StoreError: In place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror or error}); free space there or set data.store to a folder of "
            "yours, and run the command again, which continues where it stopped"
        ) from error


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(
        f"{path}: prepared image is missing or damaged ({what}); `mammo prepare` with the same settings makes it again"
    )
