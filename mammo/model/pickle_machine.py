"""The bytes of a pickle enter, plain tables, numbers and arrays leave; nothing that the bytes say is ever executed.

A pickle is a program for a small stack machine that may name any function and have it called. No unpickler runs it here. The
machine below knows the few operations of which array pickles consist, and answers the few names they need with functions
of its own; whatever else a file asks is refused. The work and the memory it may cost are bounded by the file's own length.
"""

import math
import pickletools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np

MOST_OPERATIONS = 2_000_000  # an array takes about 30; ResNet50_vd has 275
SMALL_BYTES = 1 << 20
HIGHEST_KEY = 2**31  # smaller ones are their own hashes, so they cannot be made to collide
MOST_DIMENSIONS = 32
TABLE_ITEM_BYTES = 100
OTHER_ORDER = ">" if sys.byteorder == "little" else "<"
NUMBER = re.compile(
    "[<>=|]?(f[248]|[iu][1248]|b1)"
)  # floats, integers, booleans: no objects, no text; numpy evaluates the rest


def read_pickle(content: bytes) -> object:
    """Read a pickle of protocol 2 to 5.

    Args:
        content: Its bytes.

    Returns:
        Tables (keys are text or whole numbers), lists, tuples, numbers, text, bytes, and an `Array` in place of each array.

    Raises:
        OtherError: It asks for more than that.
        ValueError: It is cut off or damaged, as are the other errors that damage may end in: TypeError, KeyError, IndexError,
            OverflowError, MemoryError and EOFError.
    """
    return Machine(2 * len(content) + SMALL_BYTES).run(content)


class OtherError(Exception):
    """The file is whole, but says what no weight file says; the message lacks only the file's name."""


def refused(what: str) -> OtherError:
    """Make the error of a file that asks for what is refused."""
    return OtherError(f"refused: {what}")


def kind_of(value: object) -> str:
    """Name a value's kind, for messages."""
    names: dict[type, str] = {Array: "an array", DType: "a type", _Name: "a name"}
    return names.get(type(value), f"a {type(value).__name__}")


class _Mark:
    """Where a list of operands begins on the stack."""


@dataclass(frozen=True)
class _Name:
    """A function or class that the file names; it is never looked up, only compared."""

    module: str
    name: str


class DType:
    """What the file says of a type: its code, then the byte order."""

    def __init__(self, code: object) -> None:
        self.code, self.swapped = code if isinstance(code, str) else kind_of(code), False

    def set_state(self, machine: "Machine", state: tuple) -> None:
        self.swapped = state[1] == OTHER_ORDER

    def build(self) -> np.dtype:
        if not NUMBER.fullmatch(self.code):
            raise refused(f"an array of type {self.code[:40]!r}; only numbers are weights")
        dtype = np.dtype(self.code)
        return dtype.newbyteorder("S") if self.swapped else dtype


class Array:
    """An array to be: takes shape, type and bytes, and holds the real one once they fit together."""

    value: np.ndarray | None = None

    def set_state(self, machine: "Machine", state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        self.fill(machine, shape, dtype, data, "F" if is_fortran else "C")

    def fill(self, machine: "Machine", shape: object, dtype: object, data: object, order: object) -> "Array":
        if not isinstance(dtype, DType) or not is_shape(shape):
            raise ValueError("an array without a type or shape")
        real = dtype.build()
        data = data.encode("latin1") if isinstance(data, str) else data
        if not isinstance(data, bytes | bytearray) or len(data) != math.prod(shape) * real.itemsize:
            raise ValueError("an array whose bytes do not fit its shape")
        machine.spend(len(data))
        array = np.frombuffer(data, real).reshape(shape, order="F" if order == "F" else "C")
        self.value = np.array(array, dtype=real.newbyteorder("="), order="C")  # a copy: own memory, writable
        return self


def is_shape(shape: Any) -> TypeGuard[tuple[int, ...]]:
    """Whether a value is a tuple of whole numbers from 0, as many as numpy allows."""
    return (
        isinstance(shape, tuple)
        and len(shape) <= MOST_DIMENSIONS
        and all(type(side) is int and side >= 0 for side in shape)
    )


class Machine:
    """The stack and the memo of a pickle, and how many bytes it may still make."""

    def __init__(self, most_bytes: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.left = most_bytes

    def run(self, content: bytes) -> object:
        """Work through the operations and return what is left on the stack."""
        for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if operation.name == "STOP":
                return self.stack.pop()
            if operation.name not in OPERATIONS:
                raise refused(f"pickle operation {operation.name}, which no weight file needs")
            if number == MOST_OPERATIONS:
                raise refused(f"more than {MOST_OPERATIONS} pickle operations, which no weight file needs")
            OPERATIONS[operation.name](self, argument)
        raise ValueError("it has no end")

    def spend(self, size: int) -> None:
        """Count bytes that are made: honest files make each of their bytes an array's once, others the same over and over."""
        self.left -= size
        if self.left < 0:
            raise refused("it makes more of its bytes than it has (a pickle bomb)")

    def pop_to_mark(self) -> list[Any]:
        """Take what lies above the topmost mark."""
        taken: list[Any] = []
        while not isinstance(item := self.stack.pop(), _Mark):
            taken.append(item)
        return taken[::-1]


def _tuple_of(count: int) -> Callable[[Machine, Any], None]:
    def make(machine: Machine, _: object) -> None:
        if len(machine.stack) < count:
            raise ValueError("a tuple of more than there is")
        machine.stack[len(machine.stack) - count :] = [tuple(machine.stack[len(machine.stack) - count :])]

    return make


def _append(machine: Machine, items: list[Any]) -> None:
    if not isinstance(machine.stack[-1], list):
        raise ValueError("items of no list")
    machine.stack[-1].extend(items)


def _set_items(machine: Machine, items: list[Any]) -> None:
    table = machine.stack[-1]
    if not isinstance(table, dict) or len(items) % 2:
        raise ValueError("items of no table")
    for key, value in zip(items[::2], items[1::2], strict=True):
        table[_key(key)] = value


def _key(key: Any) -> str | int:
    """Hold that a table's key is a name or a small number: tuples of tuples, or large numbers made to collide, can take days."""
    if type(key) is not str and not (type(key) is int and 0 <= key <= HIGHEST_KEY):
        raise refused(f"a table whose key is {kind_of(key)}; only names and small numbers are")
    return key


def _name(machine: Machine, module: object, name: object) -> None:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name that is no text")
    if (module, name) not in NAMES:
        asked = f"{module}.{name}"[:100].encode("unicode_escape").decode()
        raise refused(f"{asked}; a weight file holds arrays only, and this one asks to run code")
    machine.stack.append(_Name(module, name))


def _call(machine: Machine, _: object) -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    answer = NAMES[function.module, function.name] if isinstance(function, _Name) else None
    if answer is None or not isinstance(arguments, tuple):
        raise refused("a call of what is no function")
    machine.stack.append(answer(machine, *arguments))


def _build(machine: Machine, _: object) -> None:
    state, target = machine.stack.pop(), machine.stack[-1]
    if not isinstance(target, DType | Array) or not isinstance(state, tuple):
        raise refused("a state set on what has none")
    target.set_state(machine, state)


def _put(machine: Machine, index: int | None) -> None:
    machine.memo[len(machine.memo) if index is None else index] = machine.stack[-1]


def _push(machine: Machine, argument: object) -> None:
    machine.stack.append(argument)


CONSTANTS = (
    "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
)  # fmt: skip
# What pickle's protocols 2 to 5 write for dicts of arrays, numbers and text (pickletools.opcodes describes each).
OPERATIONS: dict[str, Callable[[Machine, Any], None]] = {
    **dict.fromkeys(CONSTANTS, _push),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, index: machine.stack.append(machine.memo[index])),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "MARK": lambda machine, _: machine.stack.append(_Mark()),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": _tuple_of(0),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.pop_to_mark())),
    "APPEND": lambda machine, _: _append(machine, [machine.stack.pop()]),
    "APPENDS": lambda machine, _: _append(machine, machine.pop_to_mark()),
    "SETITEM": lambda machine, _: _set_items(machine, [machine.stack.pop(), machine.stack.pop()][::-1]),
    "SETITEMS": lambda machine, _: _set_items(machine, machine.pop_to_mark()),
    "GLOBAL": lambda machine, asked: _name(machine, *asked.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: _name(machine, *[machine.stack.pop(), machine.stack.pop()][::-1]),
    "REDUCE": _call,
    "BUILD": _build,
}


def _reconstruct(machine: Machine, *_: object) -> Array:
    return Array()


def _frombuffer(machine: Machine, data: object, dtype: object, shape: object, order: object = "C") -> Array:
    return Array().fill(machine, shape, dtype, data, order)


def _scalar(machine: Machine, dtype: object, data: object) -> Array:
    return Array().fill(machine, (), dtype, data, "C")


def _dtype(machine: Machine, code: object, *_: object) -> DType:
    return DType(code)


def _encode(machine: Machine, text: str, codec: str = "latin1") -> bytes:
    if codec not in ("latin1", "latin-1"):
        raise ValueError("bytes written in another codec")
    machine.spend(len(text))
    return text.encode("latin1")


def _tuple(machine: Machine, items: object = ()) -> tuple:
    if not isinstance(items, list | tuple):
        raise ValueError("a tuple of no items")
    machine.spend(8 * len(items))
    return tuple(items)


def _table(machine: Machine, pairs: object = ()) -> dict[str | int, Any]:
    if not isinstance(pairs, list | tuple):
        raise ValueError("a table of no pairs")
    machine.spend(TABLE_ITEM_BYTES * len(pairs))
    return {_key(key): value for key, value in pairs}


def _no_bytes(machine: Machine) -> bytes:
    """What protocol 2 writes for the bytes of an empty array."""
    return b""


# The names that array pickles need, and the functions that answer a call; None where a name is only handed on.
NAMES: dict[tuple[str, str], Callable[..., Any] | None] = {
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): _table,
    ("builtins", "tuple"): _tuple,
    ("builtins", "bytes"): _no_bytes,
    ("__builtin__", "tuple"): _tuple,
    ("__builtin__", "bytes"): _no_bytes,
}
