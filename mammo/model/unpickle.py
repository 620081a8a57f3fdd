"""A weight file (.pdparams, .pdopt or .safetensors) enters, named arrays leave; nothing that the file says is ever executed."""

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from mammo.errors import WeightsError
from mammo.model.pickle_machine import Array, OtherError, is_shape, kind_of, read_pickle, refused
from mammo.model.tensors import NO_MEMORY, bytes_of, read_tensors

# paddle.save writes these beside the arrays (paddle/framework/io_utils.py, paddle/optimizer/optimizer.py): names of its
# graph, how tensors over 1 GiB were cut for pickle protocols 2 and 3, float32 copies of half-precision parameters, and the
# scheduler's counters.
PARAMETER_NAMES_KEY = "StructuredToParameterName@@"
CUT_TENSORS_KEY = "UnpackBigParamInfor@@"
MASTER_WEIGHTS_KEY = "master_weights"
SCHEDULE_KEY = "LR_Scheduler"
MOST_SCHEDULE_ITEMS = 10_000
DAMAGED = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, EOFError, pickle.UnpicklingError,
)  # fmt: skip
Shaped = TypeVar("Shaped")


@dataclass(frozen=True)
class OptimizerFile:
    """`accumulators`: arrays by the optimizer's names, such as `linear_0.w_0_moment1_0`; `master_weights`: by parameter name.

    `schedule`: the scheduler's state, numbers by name (a warm-up holds that of the schedule after it); empty without one.
    """

    accumulators: dict[str, np.ndarray]
    master_weights: dict[str, np.ndarray]
    schedule: dict[str, Any]


def load_pdparams(path: Path) -> dict[str, np.ndarray]:
    """Read the named arrays of a Paddle weight file, or of a .safetensors file (told by its suffix).

    Args:
        path: A .pdparams file of paddle 2.x or 3.x: pickle protocols 2 to 5, written under numpy 1 or 2; values are arrays or
            pairs (graph name, array).

    Raises:
        WeightsError: The file is not there, cut off, of another kind, or asks for anything but arrays.
    """
    path = Path(path)
    return read_tensors(path) if path.suffix == ".safetensors" else _read(path, _parameters, "a .pdparams file")


def load_pdopt(path: Path) -> OptimizerFile:
    """Read what `paddle.save(optimizer.state_dict(), path)` wrote.

    Raises:
        WeightsError: As `load_pdparams`.
    """
    return _read(Path(path), _optimizer, "a .pdopt file")


def _read(path: Path, shape_up: Callable[[dict[Any, Any]], Shaped], what: str) -> Shaped:
    try:
        loaded = read_pickle(bytes_of(path, what, lambda file, _: _begins_as_pickle(file, what)))
        if not isinstance(loaded, dict):
            raise OtherError(f"expected a table of named arrays, got {kind_of(loaded)}")
        return shape_up(loaded)
    except OtherError as error:
        raise WeightsError(f"{path}: {error}") from None
    except MemoryError as error:
        raise WeightsError(f"{path}: {NO_MEMORY}") from error
    except DAMAGED as error:
        why = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"{path}: expected a whole {what[2:]}, got one that is cut off or damaged ({why}); fetch it again"
        ) from error


def _begins_as_pickle(file: BinaryIO, what: str) -> None:
    if not (first := file.read(8)).startswith(b"\x80"):
        raise OtherError(f"expected {what}, a pickle of protocol 2 or later; its first bytes are {first!r}")


def _parameters(loaded: dict[Any, Any]) -> dict[str, np.ndarray]:
    arrays = _uncut(loaded)
    if not arrays:
        raise OtherError("holds no array; expected named arrays")
    return arrays


def _uncut(loaded: dict[Any, Any]) -> dict[str, np.ndarray]:
    cut = loaded.pop(CUT_TENSORS_KEY, {})
    loaded.pop(PARAMETER_NAMES_KEY, None)
    return _joined(_arrays(loaded), cut)


def _optimizer(loaded: dict[Any, Any]) -> OptimizerFile:
    schedule, masters = loaded.pop(SCHEDULE_KEY, {}), loaded.pop(MASTER_WEIGHTS_KEY, {})
    if not isinstance(schedule, dict) or not isinstance(masters, dict):
        raise OtherError(f"expected tables under {SCHEDULE_KEY!r} and {MASTER_WEIGHTS_KEY!r}")
    return OptimizerFile(_uncut(loaded), _arrays(masters), _plain(schedule, [MOST_SCHEDULE_ITEMS]))


def _plain(value: Any, left: list[int]) -> Any:
    """Copy tables and lists of numbers and text; `left` counts down, for a file may hold itself, or one list a thousandfold."""
    left[0] -= 1
    if left[0] < 0:
        raise refused(f"a schedule of more than {MOST_SCHEDULE_ITEMS} values")
    if isinstance(value, dict):
        return {str(key): _plain(inner, left) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, left) for inner in value]
    if isinstance(value, Array) and value.value is not None and value.value.size == 1:
        return value.value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise OtherError(f"expected numbers under {SCHEDULE_KEY!r}, got {kind_of(value)}")


def _arrays(loaded: dict[Any, Any]) -> dict[str, np.ndarray]:
    return {str(key): _array(value, str(key)) for key, value in loaded.items()}


def _array(value: object, key: str) -> np.ndarray:
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    if not isinstance(value, Array) or value.value is None:
        shown = key[:100].encode("unicode_escape").decode()
        raise OtherError(f"expected an array under '{shown}', got {kind_of(value)}")
    return value.value


def _joined(arrays: dict[str, np.ndarray], cut: Mapping[str, Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Put tensors that were cut into slices together again."""
    for name, plan in cut.items():
        slices, shape = plan["slices"], plan["OriginShape"]
        if not is_shape(shape) or not all(isinstance(part, str) for part in slices):
            raise ValueError("a tensor cut into what are no slices")
        arrays[str(name)] = np.concatenate([arrays.pop(part).reshape(-1) for part in slices]).reshape(shape)
    return arrays
