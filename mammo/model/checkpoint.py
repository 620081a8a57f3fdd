"""A checkpoint is a folder: tensors as safetensors, the rest as `state.json`, and a SHA-256 of each in `hashes.json`.

It is written to another folder, flushed to the disk and renamed into place. The one it replaces stays as
`.<name>.previous` until the next, so that there is a whole one at any moment, and another where that gets damaged.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import WeightsError
from mammo.files import flush_folder, read_json, write_json
from mammo.model.tensors import read_tensors, sha256_of, write_tensors
from mammo.runtime import paddle

logger = logging.getLogger(__name__)
STATE_FILE, HASH_FILE = "state.json", "hashes.json"


@dataclass(frozen=True)
class Checkpoint:
    """Its folder, `tensors` by group (`network`, `average`, `optimizer`), and the state as plain values."""

    folder: Path
    tensors: dict[str, dict[str, np.ndarray]]
    state: dict[str, Any]


def write_checkpoint(folder: Path, tensors: Mapping[str, Mapping[str, np.ndarray]], state: Mapping[str, Any]) -> None:
    """Write a checkpoint in a folder's place; what was there becomes the previous one.

    Raises:
        WeightsError: It cannot be written; the folder's old content stays as it was.
    """
    beside = beside_of(folder)
    previous = previous_of(folder)
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for group, arrays in tensors.items():
            write_tensors(beside / f"{group}.safetensors", arrays)
        write_json(beside / STATE_FILE, dict(state))
        write_json(beside / HASH_FILE, {file.name: sha256_of(file) for file in sorted(beside.iterdir())})
        if folder.exists():
            shutil.rmtree(previous, ignore_errors=True)
            folder.rename(previous)
        beside.rename(folder)
        flush_folder(folder.parent)
    except (OSError, WeightsError) as error:
        shutil.rmtree(beside, ignore_errors=True)  # gives back the space that a full disk lacks
        why = (error.strerror or error) if isinstance(error, OSError) else error
        stays = "the one before it is whole" if folder.exists() else "nothing was saved yet"
        raise WeightsError(
            f"{folder}: the checkpoint cannot be written ({why}); {stays}: free space, then go on with --resume"
        ) from error


def read_checkpoint(folder: Path, *, groups: tuple[str, ...] | None = None) -> Checkpoint:
    """Read a checkpoint after checking every file's hash.

    Args:
        folder: The checkpoint; where a kill fell between the two renames of a write, the one that was to take its
            place.
        groups: The tensor groups wanted; None for all.

    Raises:
        WeightsError: There is none, or a file is damaged (named).
    """
    if not folder.exists():
        folder = next((other for other in _others(folder) if other.exists()), folder)
    hashes = _read_json(folder / HASH_FILE)
    wanted = {STATE_FILE, *(f"{group}.safetensors" for group in groups or ("network",))}
    if not wanted <= set(hashes):
        raise WeightsError(f"{folder / HASH_FILE}: does not name {', '.join(sorted(wanted))}; {_damaged(folder)}")
    for name, expected in hashes.items():
        if Path(name).name != name or sha256_of(folder / name) != expected:
            raise WeightsError(f"{folder / name}: does not have the SHA-256 that {HASH_FILE} names; {_damaged(folder)}")
    if groups is None:
        groups = tuple(sorted(Path(name).stem for name in hashes if name.endswith(".safetensors")))
    state = _read_json(folder / STATE_FILE)
    return Checkpoint(folder, {group: read_tensors(folder / f"{group}.safetensors") for group in groups}, state)


def last_good(folder: Path) -> Checkpoint:
    """Read a checkpoint, or where it is damaged, say so and read the one after or before it.

    Raises:
        WeightsError: None is whole; all errors are reported.
    """
    errors = []
    places = [place for place in (folder, *_others(folder)) if place.exists()]
    for place in places or [folder]:
        try:
            found = read_checkpoint(place)
        except WeightsError as error:
            errors.append(str(error))
            continue
        if errors:
            step = found.state.get("step")
            logger.warning("%s. Falling back to the one beside it, of step %s", "; ".join(errors), step)
        return found
    raise WeightsError("; and of the one before it: ".join(errors))


def _others(folder: Path) -> tuple[Path, Path]:
    """List where a killed write leaves a whole checkpoint: the new one, not yet in place, and the one before."""
    return beside_of(folder), previous_of(folder)


def beside_of(folder: Path) -> Path:
    """Return where a folder's next checkpoint is written, before it takes its place."""
    return folder.with_name(f".{folder.name}.new")


def previous_of(folder: Path) -> Path:
    """Return where the checkpoint lies that a folder's present one has replaced."""
    return folder.with_name(f".{folder.name}.previous")


def set_network(network: paddle.nn.Layer, checkpoint: Checkpoint) -> None:
    """Put a checkpoint's weights into a network that must have exactly these, or all but auxiliary heads.

    Raises:
        WeightsError: It is another network.
    """
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    held = checkpoint.tensors["network"]
    arrays = {name: value for name, value in held.items() if name in own or not name.startswith("auxiliary.")}
    if own != {name: value.shape for name, value in arrays.items()}:
        counts = f"({len(arrays)} tensors) than the settings describe ({len(own)})"
        raise WeightsError(f"{checkpoint.folder}: holds another network {counts}; use the run's own config.yaml")
    network.set_state_dict(arrays)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise WeightsError(
            f"{path.parent}: expected a checkpoint, but {path.name} is missing; give a run that has saved one"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({error}); {_damaged(path.parent)}") from error


def _damaged(folder: Path) -> str:
    return f"it is damaged: mammo train --resume {folder.parent.parent} goes back to the checkpoint before it"
