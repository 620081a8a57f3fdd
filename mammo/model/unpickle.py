"""A weight file (.pdparams or .safetensors) enters, named arrays leave; nothing that the file says is ever executed.

A .pdparams file is a pickle, and an ordinary unpickler runs whatever function such a file names. Here the few names that
array pickles need are answered by stand-ins of this module; any other name is refused.
"""

import io
import math
import pickle
import pickletools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import WeightsError
from mammo.model.tensors import read_tensors

# paddle.save writes these beside the weights (paddle/framework/io_utils.py): names of its graph, and how tensors over
# 1 GiB were cut for pickle protocols 2 and 3.
PARAMETER_NAMES_KEY = "StructuredToParameterName@@"
CUT_TENSORS_KEY = "UnpackBigParamInfor@@"
LARGEST_MEMO_INDEX = 10_000_000  # the unpickler allocates a table up to the index that a file names
OTHER_ORDER = ">" if sys.byteorder == "little" else "<"
PLAIN_KINDS = "fiub"  # floats, integers, booleans: no objects, no text
BROKEN_PICKLE = (
    pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, ImportError,
    OverflowError, MemoryError, RecursionError,
)  # fmt: skip


def load_pdparams(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of a Paddle weight file, or of a .safetensors file (told by its suffix).

    Args:
        path: A .pdparams file of paddle 2.x or 3.x: pickle protocols 2 to 5, written under numpy 1 or 2; values are arrays or
            pairs (graph name, array).

    Raises:
        WeightsError: The file is not there, cut off, of another kind, or asks for anything but arrays.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); expected a .pdparams file there") from error
    if not content.startswith(b"\x80"):
        raise WeightsError(f"{path}: expected a .pdparams file, a pickle of protocol 2 or later; its first bytes are {content[:8]!r}")
    try:
        _check_operations(content, path)
        loaded = _ArrayUnpickler(content, path).load()
        return _named_arrays(loaded, path)
    except BROKEN_PICKLE as error:
        raise WeightsError(
            f"{path}: expected a whole .pdparams file, got one that is cut off or damaged ({error}); fetch it again"
        ) from error


def _check_operations(content: bytes, path: Path) -> None:
    """Walk the pickle without running it: refuse out-of-band references and absurd table indices."""
    for operation, argument, _ in pickletools.genops(content):
        if operation.name in ("PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER"):
            raise WeightsError(f"{path}: refused: pickle operation {operation.name}, which no weight file needs")
        if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and isinstance(argument, int) and argument > LARGEST_MEMO_INDEX:
            raise WeightsError(f"{path}: refused: pickle table index {argument}, which no weight file needs")


class _DType:
    """Stands in for numpy.dtype: collects the type code, then the byte order."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.swapped = code, False

    def __setstate__(self, state: tuple) -> None:
        self.swapped = state[1] == OTHER_ORDER

    def build(self) -> np.dtype:
        dtype = np.dtype(self.code) if isinstance(self.code, str) and len(self.code) <= 4 else None
        if dtype is None or dtype.kind not in PLAIN_KINDS:
            raise WeightsError(f"refused: an array of type {self.code!r}; only numbers are weights")
        return dtype.newbyteorder("S") if self.swapped else dtype


class _Array:
    """Stands in for numpy.ndarray: takes shape, type and bytes, and holds the real array once they fit together."""

    value: np.ndarray | None = None

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        data = data.encode("latin1") if isinstance(data, str) else data
        self.fill(shape, dtype, data, "F" if is_fortran else "C")

    def fill(self, shape: tuple, dtype: _DType, data: object, order: str) -> None:
        if not isinstance(dtype, _DType):
            raise ValueError("an array without a type")
        real = dtype.build()
        if not isinstance(data, bytes | bytearray) or len(data) != math.prod(shape) * real.itemsize:
            raise ValueError(f"an array of shape {shape} whose bytes do not fit it")
        array = np.frombuffer(data, real).reshape(shape, order="F" if order == "F" else "C")
        self.value = np.array(array, dtype=real.newbyteorder("="), order="C")  # a copy: own memory, writable


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _frombuffer(data: object, dtype: _DType, shape: tuple, order: str = "C") -> _Array:
    array = _Array()
    array.fill(shape, dtype, data, order)
    return array


def _encode(text: str, codec: str = "latin1") -> bytes:
    if codec not in ("latin1", "latin-1"):
        raise ValueError(f"bytes written in codec {codec!r}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What protocol 2 writes for the bytes of an empty array."""
    return b""


STAND_INS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("builtins", "tuple"): tuple,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "tuple"): tuple,
    ("__builtin__", "bytes"): _no_bytes,
}


class _ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows the stand-ins and nothing else."""

    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in STAND_INS:
            raise WeightsError(f"{self.path}: refused: {module}.{name}; a weight file holds arrays only, and this one asks to run code")
        return STAND_INS[module, name]


def _named_arrays(loaded: object, path: Path) -> dict[str, np.ndarray]:
    if not isinstance(loaded, dict):
        raise WeightsError(f"{path}: expected a table of named arrays, got a {type(loaded).__name__}")
    cut = loaded.pop(CUT_TENSORS_KEY, {})
    loaded.pop(PARAMETER_NAMES_KEY, None)
    arrays = {str(key): _array(value, str(key), path) for key, value in loaded.items()}
    return _joined(arrays, cut)


def _array(value: object, key: str, path: Path) -> np.ndarray:
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    if not isinstance(value, _Array) or value.value is None:
        raise WeightsError(f"{path}: expected an array under {key!r}, got a {type(value).__name__.strip('_').lower()}")
    return value.value


def _joined(arrays: dict[str, np.ndarray], cut: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Put tensors that were cut into slices together again."""
    for name, plan in cut.items():
        parts = [arrays.pop(part) for part in plan["slices"]]
        arrays[name] = np.concatenate([part.reshape(-1) for part in parts]).reshape(plan["OriginShape"])
    return arrays
