"""A checkpoint is a folder: tensors as safetensors, the rest as `state.json`, and a SHA-256 of each in `hashes.json`.

It is written beside and renamed into place; the one it replaces stays until then, so that a whole one is always there.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import WeightsError
from mammo.model.tensors import read_tensors, sha256_of, write_tensors
from mammo.runtime import paddle

STATE_FILE, HASH_FILE = "state.json", "hashes.json"


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by group (`network`, `average`, `optimizer`), and the plain state."""

    tensors: dict[str, dict[str, np.ndarray]]
    state: dict[str, Any]


def write_checkpoint(folder: Path, tensors: Mapping[str, Mapping[str, np.ndarray]], state: Mapping[str, Any]) -> None:
    """Write a checkpoint in a folder's place.

    Raises:
        WeightsError: It cannot be written; the folder's old content stays as it was.
    """
    beside = folder.with_name(f".{folder.name}.new")
    previous = _previous(folder)
    try:
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for group, arrays in tensors.items():
            write_tensors(beside / f"{group}.safetensors", arrays)
        _write_json(beside / STATE_FILE, dict(state))
        _write_json(beside / HASH_FILE, {file.name: sha256_of(file) for file in sorted(beside.iterdir())})
        shutil.rmtree(previous, ignore_errors=True)
        if folder.exists():
            folder.rename(previous)
        beside.rename(folder)
        shutil.rmtree(previous, ignore_errors=True)
    except OSError as error:
        raise WeightsError(f"{folder}: the checkpoint cannot be written ({error}); free space or choose another output folder") from error


def read_checkpoint(folder: Path, *, groups: tuple[str, ...] | None = None) -> Checkpoint:
    """Read a checkpoint after checking every file's hash.

    Args:
        folder: The checkpoint; where a kill fell between the two renames of a write, the one it was to replace.
        groups: The tensor groups wanted; None for all.

    Raises:
        WeightsError: There is none, or a file is damaged (named).
    """
    if not folder.exists() and _previous(folder).exists():
        folder = _previous(folder)
    hashes = _read_json(folder / HASH_FILE)
    wanted = {STATE_FILE, *(f"{group}.safetensors" for group in groups or ("network",))}
    if not isinstance(hashes, dict) or not wanted <= set(hashes):
        raise WeightsError(f"{folder / HASH_FILE}: does not name {', '.join(sorted(wanted))}; it is damaged: use another checkpoint")
    for name, expected in hashes.items():
        if sha256_of(folder / name) != expected:
            raise WeightsError(f"{folder / name}: does not have the SHA-256 that {HASH_FILE} names; it is damaged: use another checkpoint")
    names = (
        groups
        if groups is not None
        else tuple(sorted(name.removesuffix(".safetensors") for name in hashes if name.endswith(".safetensors")))
    )
    return Checkpoint({group: read_tensors(folder / f"{group}.safetensors") for group in names}, _read_json(folder / STATE_FILE))


def load_network(network: paddle.nn.Layer, folder: Path) -> None:
    """Put the network of a checkpoint folder in place.

    Raises:
        WeightsError: There is no whole checkpoint, or it is of another network.
    """
    set_network(network, read_checkpoint(folder, groups=("network",)).tensors["network"], folder)


def set_network(network: paddle.nn.Layer, arrays: Mapping[str, np.ndarray], folder: Path) -> None:
    """Put a checkpoint's weights into a network that must have exactly these.

    Raises:
        WeightsError: It is another network.
    """
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    if own != {name: value.shape for name, value in arrays.items()}:
        counts = f"({len(arrays)} tensors) than the settings describe ({len(own)})"
        raise WeightsError(f"{folder}: holds another network {counts}; use the run's own config.yaml")
    network.set_state_dict(dict(arrays))


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.previous")


def _write_json(path: Path, values: dict[str, Any]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(values, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"{path.parent}: expected a checkpoint, but {path.name} is missing; give a run that has finished an epoch"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read ({error}); use another checkpoint") from error
