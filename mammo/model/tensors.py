"""Named arrays to and from a safetensors file: written beside, flushed to the disk, then renamed into place."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from mammo.errors import WeightsError
from mammo.files import written_beside

READ_BYTES = 1 << 20


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays; at any moment `path` holds the old file or the whole new one.

    Raises:
        WeightsError: An array has a type that safetensors cannot hold, or the file cannot be written.
    """
    try:
        content = safetensors.numpy.save({name: _plain(array) for name, array in tensors.items()})
    except (safetensors.SafetensorError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{path}: expected arrays of numbers by name, got something else ({error}); nothing was written") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written ({error.strerror or error}); free space or choose another output folder") from error


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read every named array of a safetensors file.

    Raises:
        WeightsError: The file is not there, cut off or of another kind.
    """
    try:
        return safetensors.numpy.load(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); expected a safetensors file there") from error
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: expected a whole safetensors file, got one that is cut off or of another kind ({error})") from error


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
