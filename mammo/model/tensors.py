"""Named arrays to and from a safetensors file: written beside, flushed to the disk, then renamed into place."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors
import safetensors.numpy

from mammo.errors import WeightsError
from mammo.files import written_beside

READ_BYTES = 1 << 20
LARGEST_FILE_BYTES = 8 << 30  # ResNet152_vd has 240 MB, and its optimizer's state twice that
MOST_HEADER_BYTES = 16 << 20
NO_MEMORY = "takes more memory than there is; give the process more, or name a smaller file"


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays; at any moment `path` holds the old file or the whole new one.

    Raises:
        WeightsError: An array has a type that safetensors cannot hold, or the file cannot be written.
    """
    try:
        content = safetensors.numpy.save({name: _plain(array) for name, array in tensors.items()})
    except (safetensors.SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(
            f"{path}: expected arrays of numbers by name, got something else ({error}); nothing was written"
        ) from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another output folder"
        ) from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read every named array of a safetensors file.

    Raises:
        WeightsError: The file is not there, cut off or of another kind.
    """
    try:
        return safetensors.numpy.load(bytes_of(path, "a safetensors file", _check_length))
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: expected a whole safetensors file, got one that is cut off or of another kind ({error})"
        ) from error
    except MemoryError as error:
        raise WeightsError(f"{path}: {NO_MEMORY}") from error


def bytes_of(path: Path, what: str, check: Callable[[BinaryIO, int], None]) -> bytes:
    """Read a weight file to memory, after a look at its beginning.

    Args:
        path: The file.
        what: What it should be, for messages.
        check: Raises where the beginning, read from the file, or the file's length in bytes, shows that it is something else.

    Raises:
        WeightsError: It is not there, no file, or larger than weights are.
    """
    try:
        if path.exists() and not path.is_file():
            raise WeightsError(f"{path}: is no file; expected {what} there")
        with path.open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST_FILE_BYTES:
                raise WeightsError(f"{path}: refused: {size} bytes; expected {what}, of at most {LARGEST_FILE_BYTES}")
            check(file, size)
            file.seek(0)
            return file.read()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); expected {what} there") from error
    except MemoryError as error:
        raise WeightsError(f"{path}: {NO_MEMORY}") from error


def _check_length(file: BinaryIO, size: int) -> None:
    """Hold that a safetensors file is as long as its header says: 8 bytes of the header's length, the header, the numbers."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
        raise ValueError(f"a file of {size} bytes with a header of {length}; at most {MOST_HEADER_BYTES} are read")
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"a header that is no table of tensors: {type(error).__name__}") from error
    if max(ends, default=0) != size - 8 - length:
        raise ValueError(
            f"tensors of {max(ends, default=0)} bytes in all, and {size - 8 - length} bytes after the header"
        )


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file's bytes, in lower-case hexadecimal.

    Raises:
        WeightsError: The file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error})") from error
    return digest.hexdigest()


def _plain(array: np.ndarray) -> np.ndarray:
    """Lay an array out in rows and in this machine's byte order: safetensors 0.8 writes others' bytes scrambled, in silence."""
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
