"""Reads a weight file and returns its named arrays; nothing that the file says is run.

Pickles are read by `unpickle_child` in a process of its own. It sends back no pickle, only numbers and a list of names,
types and shapes, which is checked here.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import WeightsError
from mammo.model import unpickle_child
from mammo.model.tensors import MOST_HEADER_BYTES, NO_MEMORY, open_weights, plain, read_tensors
from mammo.model.unpickle_child import MOST_DIMENSIONS, ZIP, RefusedError

TORCH_ENDINGS = (".pth", ".pt", ".bin")
WEIGHT_ENDINGS = (".pdparams", ".safetensors", *TORCH_ENDINGS)
NUMBER = re.compile("[<>=|]?(f[248]|[iu][1248]|b1)")  # floats, integers, booleans: no objects, no text
SHARED_BYTES = 1 << 20
LONGEST_TEXT = 300


def load_weights(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of a weight file, by its suffix.

    Args:
        path: A file of one of `WEIGHT_ENDINGS`: paddle's .pdparams, of paddle 2.x or 3.x (pickle protocols 2 to 5,
            written under numpy 1 or 2; values are arrays or pairs (graph name, array)), or what PyTorch's torch.save
            made of a state_dict, in its older or its newer form, as .pth, .pt or .bin; or a .safetensors file.

    Returns:
        Arrays of floats, integers or booleans by name, in C order and this machine's byte order.

    Raises:
        WeightsError: The file is missing, cut off, of another kind, or asks for anything but arrays.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return read_tensors(path)
    ending = path.suffix if path.suffix in TORCH_ENDINGS else ".pdparams"
    try:
        with open_weights(path, f"a {ending} file") as file:
            return _read_in_child(file.fileno(), ending)
    except RefusedError as error:
        raise WeightsError(f"{path}: {error}") from None
    except MemoryError as error:
        raise WeightsError(f"{path}: {NO_MEMORY}") from error
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        wrong = f"expected a whole {ending} file, got one that is cut off or damaged ({error})"
        raise WeightsError(f"{path}: {wrong}; fetch it again") from error


def _read_in_child(file: int, ending: str) -> dict[str, np.ndarray]:
    forms = {b"\x80": "a pickle of protocol 2 or later"}
    if ending in TORCH_ENDINGS:
        forms[ZIP] = "a zip"
    if not (first := os.read(file, 8)).startswith(tuple(forms)):
        expected = f"expected a {ending} file, {' or '.join(forms.values())}"
        raise RefusedError(f"{expected}; its first bytes are {first!r}")
    os.lseek(file, 0, os.SEEK_SET)
    # -I and -S: neither variables of the environment nor installed packages change what the process runs.
    command = [sys.executable, "-I", "-S", unpickle_child.__file__]
    environment = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    with subprocess.Popen(
        command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, cwd="/"
    ) as child:
        try:
            return _received(child, os.fstat(file).st_size)
        finally:
            child.kill()


def _received(child: "subprocess.Popen[bytes]", file_bytes: int) -> dict[str, np.ndarray]:
    stream: Any = child.stdout
    line = stream.readline(MOST_HEADER_BYTES)
    if not line:
        code = child.wait()
        why = "took too long" if code == -getattr(signal, "SIGXCPU", 0) else f"ended with code {code}"
        raise RefusedError(f"refused: reading it {why}; it is damaged or meant to do harm")
    answer = json.loads(line)
    if "memory" in answer:
        raise MemoryError
    for kind, error in (("refused", RefusedError), ("damaged", ValueError)):
        if kind in answer:
            raise error("".join(sign for sign in " ".join(answer[kind].split()) if sign.isprintable())[:LONGEST_TEXT])
    arrays = {str(name): _checked(*about) for name, *about in answer["arrays"]}
    if not arrays:
        raise RefusedError("holds no array; expected named arrays")
    # Two names may share an array: the file's bytes may come twice, but not over and over.
    if sum(math.prod(shape) * dtype.itemsize for dtype, shape, _ in arrays.values()) > 2 * file_bytes + SHARED_BYTES:
        raise RefusedError("refused: its arrays take more bytes than it has (a pickle bomb)")
    return {name: _array(stream, *about) for name, about in arrays.items()}


def _checked(code: object, byte_order: object, shape: list[int], order: object, count: int) -> tuple:
    """Check what the file says of an array; returns its type, its shape and its axes, the slowest first."""
    if not isinstance(code, str) or not NUMBER.fullmatch(code):
        raise RefusedError(f"refused: an array of type {ascii(code)[:40]}; only numbers are weights")
    dtype = np.dtype(code)
    if byte_order in ("<", ">"):
        dtype = dtype.newbyteorder(byte_order)
    if len(shape) > MOST_DIMENSIONS or not all(type(side) is int and 0 <= side < 2**63 for side in shape):
        raise ValueError("an array without a shape")
    if math.prod(shape) * dtype.itemsize != count:
        raise ValueError("an array whose bytes do not fit its shape")
    axes = list(range(len(shape)))
    if isinstance(order, list) and sorted(order) != axes:
        raise ValueError("an array without an order of axes")
    return dtype, tuple(shape), order if isinstance(order, list) else axes[::-1] if order == "F" else axes


def _array(stream: Any, dtype: np.dtype, shape: tuple[int, ...], axes: list[int]) -> np.ndarray:
    array = np.empty([shape[axis] for axis in axes], dtype)
    if stream.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:
        raise ValueError("fewer bytes than announced")
    return plain(array.transpose(np.argsort(axes)))
