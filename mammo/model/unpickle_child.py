"""Reads named arrays, as paddle or PyTorch pickles them, from standard input and writes them to standard output.

A pickle can call any function, so it may be hostile. `unpickle` therefore runs this file as a process of its own, under
limits of memory and processor time that end a file which fills the memory or runs for ever. It can open and write no
file. The unpickler knows only the classes below, which keep what they are given; `unpickle` checks it. Only the
standard library is imported, so that the process starts in about 20 ms.

The output is one line of JSON, `{"arrays": [[name, type, byte order, shape, order of axes, bytes], ...]}` or the reason
why there are none. The order of axes is "C", "F" or a list, the slowest axis first. The bytes of the arrays follow, one
array after the other.

`torch.save` pickles only what an array looks like (torch/serialization.py). The numbers are in storages, which the
pickle calls by a persistent id, and which follow it or, from PyTorch 1.6, are files beside it in a zip.
"""

import io
import json
import math
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
TORCH_MAGIC, TORCH_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # the first two pickles of a file of torch.save
ZIP = b"PK\3\4"
MOST_DIMENSIONS = 32  # of numpy 1
STORAGES = {
    "Double": "f8", "Float": "f4", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1",
    "Bool": "b1",
}  # fmt: skip


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


class Tensor(StandIn):
    """Replaces torch's `_rebuild_tensor_v2`: given a storage, where the array begins in it, its sizes and strides."""


class Table(dict):
    """Replaces OrderedDict in files of PyTorch; a name comes once, and what it knows of its modules is dropped."""

    def __init__(self, pairs: Any = ()) -> None:
        super().__init__()
        for name, value in pairs:
            self[name] = value

    def __setitem__(self, name: Any, value: Any) -> None:
        if name in self:
            raise RefusedError(f"refused: two entries are called {str(name)[:100]!a}")
        super().__setitem__(name, value)

    def __setstate__(self, state: Any) -> None:
        pass


# The names that pickled arrays need.
NAMES: dict[tuple[str, str], Any] = {
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


TORCH_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): Table,
    ("torch._utils", "_rebuild_tensor_v2"): Tensor,
    **{("torch", f"{kind}Storage"): code for kind, code in STORAGES.items()},
}


class Unpickler(pickle.Unpickler):
    """Knows the names of the table, and no others."""

    names = NAMES

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        """Look a name up in the table; nothing is imported."""
        if (module, name) not in self.names:
            asked = ascii(f"{module}.{name}"[:100])[1:-1]
            if module == "torch" and name.endswith("Storage"):
                raise RefusedError(f"refused: {asked}; numbers of this type are not read")
            raise RefusedError(f"refused: {asked}; a weight file holds arrays only, and this one asks to run code")
        return self.names[module, name]

    def persistent_load(self, pid: object) -> object:
        """Refuse what is stored outside the file."""
        raise RefusedError("refused: a persistent id, which paddle's weight files do not have")


class TorchUnpickler(Unpickler):
    """Knows the names that arrays of PyTorch need; `storages` are those that they use, by key: type and count."""

    names = TORCH_NAMES

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, tuple[str, int]] = {}

    def persistent_load(self, pid: object) -> str:
        """Note a storage: ("storage", type, key, device, count), and in the older form None, as it is no view."""
        if not isinstance(pid, tuple) or len(pid) not in (5, 6) or pid[0] != "storage" or pid[5:] not in ((), (None,)):
            raise RefusedError("refused: a persistent id that is no whole storage of numbers")
        _, code, key, _, count = pid[:5]
        if code not in tuple(STORAGES.values()) or type(key) is not str or type(count) is not int or count < 0:
            raise RefusedError("refused: a storage without type, key or length")
        if self.storages.setdefault(key, (code, count)) != (code, count):
            raise RefusedError("refused: two storages with one key")
        return key


def main() -> None:
    """Read standard input, and write the arrays or why there are none."""
    arrays: list[tuple] = []
    try:
        if is_zip(sys.stdin.buffer):
            import encodings.cp437  # noqa: F401 - of names in a zip; now, since no file can be opened later
            import zipfile  # noqa: F401
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


def is_zip(file: BinaryIO) -> bool:
    """Whether a file begins as a zip does."""
    first = file.read(len(ZIP))
    file.seek(0)
    return first == ZIP


def read_arrays(file: BinaryIO) -> list[tuple]:
    """Read named arrays: a pickle of protocol 2 to 5, of arrays or pairs (graph name, array), or a file of torch.save.

    Returns:
        Of each array its name, type, byte order, shape, order of axes and bytes, all as the file has them.

    Raises:
        RefusedError: It contains something else.
        Exception: It is damaged.
    """
    if is_zip(file):
        return read_torch_zip(file)
    loaded = Unpickler(file).load()
    if type(loaded) is int and loaded == TORCH_MAGIC:
        return read_torch(file)
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


def read_torch(file: BinaryIO) -> list[tuple]:
    """Read PyTorch's older form, behind its first pickle: its version, the writer's machine, the arrays, the storages'
    keys, and then each storage in that order: its length as a 64-bit number, and its numbers; all little-endian.
    """
    if (version := Unpickler(file).load()) != TORCH_PROTOCOL:
        raise RefusedError(f"expected version {TORCH_PROTOCOL} of PyTorch's form, got {str(version)[:20]!a}")
    Unpickler(file).load()
    unpickler = TorchUnpickler(file)
    tensors, keys, storages = unpickler.load(), Unpickler(file).load(), unpickler.storages
    if not isinstance(keys, list) or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages):
        raise RefusedError("refused: its storages are not, once each, those that its arrays use")
    contents = {}
    for key in keys:
        code, count = storages[key]
        if (stated := int.from_bytes(file.read(8), "little")) != count:
            raise ValueError(f"a storage of {stated} numbers where {count} are expected")
        size, left = count * int(code[1]), os.fstat(file.fileno()).st_size - file.tell()
        if size > left:
            raise ValueError(f"a storage of {size} bytes, of which {left} are there")
        contents[key] = file.read(size)
    return described_tensors(tensors, storages, contents)


def read_torch_zip(file: BinaryIO) -> list[tuple]:
    """Read PyTorch's newer form: a zip, not compressed, with a folder of the pickle and of a file for each storage."""
    import zipfile

    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        folders = [
            name.removesuffix("data.pkl") for name in names if name.count("/") == 1 and name.endswith("/data.pkl")
        ]
        if len(folders) != 1 or len(set(names)) != len(names):
            raise RefusedError("expected a file of PyTorch, got another zip")
        file_bytes = os.fstat(file.fileno()).st_size
        if any(member.compress_type for member in members) or sum(member.file_size for member in members) > file_bytes:
            raise RefusedError("refused: its members are compressed, or share their bytes, unlike PyTorch's")
        order = f"{folders[0]}byteorder"
        if order in names and archive.read(order) != b"little":
            raise RefusedError("expected little-endian numbers")
        unpickler = TorchUnpickler(io.BytesIO(archive.read(f"{folders[0]}data.pkl")))
        tensors, storages = unpickler.load(), unpickler.storages
        contents = {key: archive.read(f"{folders[0]}data/{key}") for key in storages}
    for key, (code, count) in storages.items():
        if len(contents[key]) != count * int(code[1]):
            raise ValueError(f"a storage of {len(contents[key])} bytes where {count} numbers are expected")
    return described_tensors(tensors, storages, contents)


def described_tensors(tensors: Any, storages: dict[str, tuple[str, int]], contents: dict[str, bytes]) -> list[tuple]:
    """Return what a file of PyTorch says of its arrays, and their part of a storage."""
    if not isinstance(tensors, dict):
        raise RefusedError(f"expected a table of named arrays, got a {type(tensors).__name__}")
    described = []
    for name, tensor in tensors.items():
        if type(name) is not str or not isinstance(tensor, Tensor):
            raise RefusedError(f"expected an array under {str(name)[:100]!a}, got a {type(tensor).__name__}")
        key, offset, shape, strides = tensor.given[:4]
        (code, count), order, size = storages[key], order_of_axes(shape, strides), math.prod(shape)
        if type(offset) is not int or not 0 <= offset <= count - size:
            raise RefusedError(f"refused: {name[:100]!a} reaches beyond its storage")
        width = int(code[1])
        content = memoryview(contents[key])[offset * width : (offset + size) * width]
        described.append((name, code, "<", shape, order, content))
    return described


def order_of_axes(shape: Any, strides: Any) -> list[int]:
    """List the axes of an array, slowest first; its numbers must lie one after the other.

    Files made of TensorFlow's have other orders than C's and Fortran's. The stride of an axis of one means nothing.
    """
    both = (shape, strides)
    if not all(isinstance(part, tuple) and len(part) <= MOST_DIMENSIONS for part in both) or len(shape) != len(strides):
        raise RefusedError("refused: an array without sizes and strides")
    if not all(type(number) is int and 0 <= number < 2**63 for part in both for number in part):
        raise RefusedError("refused: an array without sizes and strides")
    order = sorted(range(len(shape)), key=lambda axis: -strides[axis])
    step = 1
    for axis in reversed(order):
        if shape[axis] != 1 and strides[axis] != step and 0 not in shape:
            raise RefusedError("refused: an array whose numbers overlap or have gaps between them")
        step *= shape[axis]
    return order


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
