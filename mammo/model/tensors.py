"""Writes and reads named arrays as a safetensors file, and opens weight files."""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

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
        content = safetensors.numpy.save({name: plain(array) for name, array in tensors.items()})
    except (safetensors.SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        wrong = f"expected arrays of numbers by name, got something else ({error})"
        raise WeightsError(f"{path}: {wrong}; nothing was written") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        advice = "free space or choose another output folder"
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read every named array of a safetensors file.

    Raises:
        WeightsError: The file is missing, cut off or of another kind.
    """
    try:
        with open_weights(path, "a safetensors file") as file:
            _check_length(file)
            file.seek(0)
            return safetensors.numpy.load(file.read())
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        wrong = f"got one that is cut off or of another kind ({error})"
        raise WeightsError(f"{path}: expected a whole safetensors file, {wrong}") from error
    except MemoryError as error:
        raise WeightsError(f"{path}: {NO_MEMORY}") from error


@contextmanager
def open_weights(path: Path, what: str) -> Iterator[FileIO]:
    """Open a weight file, unbuffered.

    Args:
        path: The file.
        what: What it should be, for messages.

    Raises:
        WeightsError: It is missing, no file, cannot be read, or is larger than weights are.
    """
    try:
        if path.exists() and not path.is_file():
            raise WeightsError(f"{path}: is no file; expected {what} there")
        with path.open("rb", buffering=0) as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST_FILE_BYTES:
                raise WeightsError(f"{path}: refused: {size} bytes; expected {what}, of at most {LARGEST_FILE_BYTES}")
            yield file
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); expected {what} there") from error


def _check_length(file: FileIO) -> None:
    """Check a safetensors file's length: 8 bytes with the header's length, the header, the numbers that it lists."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, MOST_HEADER_BYTES):
        raise ValueError(f"a file of {size} bytes with a header of {length}; at most {MOST_HEADER_BYTES} are read")
    try:
        header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"a header that is no table of tensors: {type(error).__name__}") from error
    if (end := max(ends, default=0)) != size - 8 - length:
        raise ValueError(f"tensors of {end} bytes in all, and {size - 8 - length} bytes after the header")


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


def plain(array: np.ndarray) -> np.ndarray:
    """Return an array in C order and this machine's byte order: safetensors 0.8 scrambles others without an error."""
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)
