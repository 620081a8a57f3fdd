"""Reads a pickle of named arrays from standard input and writes the arrays to standard output.

A pickle can call any function, so it may be hostile. `unpickle` therefore runs this file as a process of its own, under
limits of memory and processor time that end a file which fills the memory or runs for ever. It can open and write no
file. The unpickler knows only the classes below, which keep what they are given; `unpickle` checks it. Only the
standard library is imported, so that the process starts in about 20 ms.

The output is one line of JSON, `{"arrays": [[name, type, byte order, shape, order of axes, bytes], ...]}` or the reason
why there are none. The bytes of the arrays follow, one array after the other.
"""

import json
import os
import pickle
import sys
from typing import Any, BinaryIO

BASE_BYTES = 256 << 20
MEMORY_PER_BYTE = 3  # protocol 2 writes bytes as text, which is in memory twice while it is converted
BASE_SECONDS = 5
BYTES_PER_SECOND = 10 << 20  # measured: 200 MiB and more
# paddle.save writes these beside the arrays (paddle/framework/io_utils.py): the names in its graph, and how tensors
# over 1 GiB were cut for pickle protocols 2 and 3.
PARAMETER_NAMES_KEY = "StructuredToParameterName@@"
CUT_TENSORS_KEY = "UnpackBigParamInfor@@"


class RefusedError(Exception):
    """The file is whole, but contains what no weight file does; the message lacks only the file's name."""


class StandIn:
    """Keeps what the file gives to the class or function that it replaces."""

    def __init__(self, *given: Any) -> None:
        self.given = given
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class DType(StandIn):
    """Replaces numpy.dtype: given a code such as `f4`; the second item of its state is the byte order."""


class Reconstructed(StandIn):
    """Replaces numpy's `_reconstruct`: its state is a version, shape, type, whether it lies by columns, and bytes."""


class Buffer(StandIn):
    """Replaces numpy's `_frombuffer`: given the bytes, the type, the shape and the order of axes."""


class Scalar(StandIn):
    """Replaces numpy's `scalar`: given the type and the bytes."""


class Latin1(StandIn):
    """Replaces `_codecs.encode` and `bytes`, which protocol 2 calls to make bytes of text."""

    def __new__(cls, text: str = "", codec: str = "latin1") -> bytes:  # type: ignore[misc]
        """Encode a text; no other codec is called, since some of them decompress."""
        if codec not in ("latin1", "latin-1"):
            raise ValueError("bytes in another codec")
        return text.encode("latin1")


# The names that pickled arrays need.
NAMES: dict[tuple[str, str], type] = {
    ("numpy", "ndarray"): StandIn,
    ("numpy", "dtype"): DType,
    ("_codecs", "encode"): Latin1,
    ("collections", "OrderedDict"): dict,
    **{(module, "tuple"): tuple for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): Latin1 for module in ("builtins", "__builtin__")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Reconstructed for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): Scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Buffer for core in ("core", "_core")},
}


class Unpickler(pickle.Unpickler):
    """Knows the names of the table, and no others."""

    def find_class(self, module: str, name: str) -> type:
        """Look a name up in the table; nothing is imported."""
        if (module, name) not in NAMES:
            asked = ascii(f"{module}.{name}"[:100])[1:-1]
            raise RefusedError(f"refused: {asked}; a weight file holds arrays only, and this one asks to run code")
        return NAMES[module, name]

    def persistent_load(self, pid: object) -> object:
        """Refuse what is stored outside the file."""
        raise RefusedError("refused: a persistent id, which no weight file needs")


def main() -> None:
    """Read standard input, and write the arrays or why there are none."""
    arrays: list[tuple] = []
    try:
        set_limits(os.fstat(0).st_size)
        arrays = read_arrays(sys.stdin.buffer)
        line = json.dumps({"arrays": [(*about, len(data)) for *about, data in arrays]})
    except RefusedError as error:
        line = json.dumps({"refused": str(error)})
    except MemoryError:
        line = json.dumps({"memory": "lacking"})
    except Exception as error:  # a damaged pickle raises nearly anything
        line = json.dumps({"damaged": f"{type(error).__name__}: {error}"[:1000]})
    sys.stdout.buffer.write(line.encode() + b"\n")
    for *_, data in arrays:
        sys.stdout.buffer.write(data)


def read_arrays(file: BinaryIO) -> list[tuple]:
    """Read a pickle of named arrays, of protocol 2 to 5; the values are arrays or pairs (graph name, array).

    Returns:
        Of each array its name, type, byte order, shape, order of axes and bytes, all as the file has them.

    Raises:
        RefusedError: It contains something else.
        Exception: It is damaged.
    """
    loaded = Unpickler(file, encoding="latin1").load()
    if not isinstance(loaded, dict):
        raise RefusedError(f"expected a table of named arrays, got a {type(loaded).__name__}")
    loaded.pop(PARAMETER_NAMES_KEY, None)
    cut = loaded.pop(CUT_TENSORS_KEY, {})
    arrays = {key: described(key, value) for key, value in loaded.items()}
    for name, plan in cut.items():
        parts = [arrays.pop(part) for part in plan["slices"]]
        if len({part[1:3] for part in parts}) != 1:
            raise ValueError("a tensor cut into slices of several types")
        arrays[name] = (name, *parts[0][1:3], plan["OriginShape"], "C", b"".join(part[-1] for part in parts))
    return list(arrays.values())


def described(key: object, value: Any) -> tuple:
    """Return what the file says of one array."""
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    shape, order = (), "C"
    if isinstance(value, Reconstructed):
        _, shape, dtype, by_columns, data = value.state
        order = "F" if by_columns else "C"
    elif isinstance(value, Buffer):
        data, dtype, shape, order = value.given
    elif isinstance(value, Scalar):
        dtype, data = value.given
    elif not isinstance(key, str | int):
        raise RefusedError(f"refused: a table whose key is a {type(key).__name__}; expected names")
    else:
        raise RefusedError(f"expected an array under {str(key)[:100]!a}, got a {type(value).__name__}")
    if isinstance(data, str):  # Python 2 wrote bytes as its text
        data = data.encode("latin1")
    if not isinstance(dtype, DType):
        raise ValueError("an array without a type")
    return key, dtype.given[0], dtype.state[1] if dtype.state else "=", shape, order, data


def set_limits(file_bytes: int) -> None:
    """Limit memory and processor time by the file's size, and allow no new file and no process."""
    try:
        import resource
    except ImportError:  # Windows: a file can fill the memory there, and still runs nothing
        return
    limits = {
        resource.RLIMIT_AS: BASE_BYTES + MEMORY_PER_BYTE * file_bytes,
        resource.RLIMIT_CPU: BASE_SECONDS + file_bytes // BYTES_PER_SECOND,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 3,
        resource.RLIMIT_NPROC: 0,
    }
    for kind, limit in limits.items():
        _, hard = resource.getrlimit(kind)
        soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        # The soft limit of processor time ends the process by a signal of its own, which `unpickle` puts into words.
        resource.setrlimit(kind, (soft, hard if kind == resource.RLIMIT_CPU else soft))


if __name__ == "__main__":
    main()
