"""The processes that train one network together: who this one is, and how they add up, gather and agree. One alone talks to nobody."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from mammo.errors import TrainingError
from mammo.runtime import paddle


@dataclass(frozen=True)
class World:
    """This process among those that `python -m paddle.distributed.launch` has started: NCCL joins them on GPUs, Gloo on CPUs.

    All of them call the same methods in the same order; each waits for the others.

    Attributes:
        rank: From 0; the first one writes the run folder.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one writes and judges."""
        return self.rank == 0

    @property
    def own(self) -> slice:
        """This process's share of a batch or of a list of cases: every size-th."""
        return slice(self.rank, None, self.size)

    def add(self, values: Sequence[float]) -> list[float]:
        """Add up some numbers over all processes."""
        if self.size == 1:
            return list(values)
        total = paddle.to_tensor(np.asarray(values, np.float64))
        with _told():
            paddle.distributed.all_reduce(total)
        return [float(value) for value in total.numpy()]

    def add_tensors(self, tensors: Sequence[paddle.Tensor]) -> None:
        """Add up tensors of one type over all processes, in place, in one message."""
        if self.size == 1 or not tensors:
            return
        with paddle.no_grad(), _told():
            together = paddle.concat([tensor.flatten() for tensor in tensors])
            paddle.distributed.all_reduce(together)
            pieces = paddle.split(together, [int(np.prod(tensor.shape)) for tensor in tensors])
            for tensor, piece in zip(tensors, pieces, strict=True):
                paddle.assign(piece.reshape(tensor.shape), tensor)

    def gather(self, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Bring together what each process has: keys int64 [n] and values float64 [n] of all, each once, by rising key."""
        if self.size == 1:
            return keys, values
        counts = [0.0] * self.size
        counts[self.rank] = len(keys)
        most = int(max(self.add(counts)))
        padded = np.full((most, 2), np.nan)
        padded[: len(keys)] = np.stack([keys, values], axis=1)  # float64 holds whole numbers up to 2**53
        parts: list[paddle.Tensor] = []
        present = np.zeros(most)
        present[: len(keys)] = 1
        with _told():
            paddle.distributed.all_gather(parts, paddle.to_tensor(np.column_stack([padded, present])))
        together = np.concatenate([part.numpy() for part in parts])
        together = together[together[:, 2] == 1]
        together = together[np.argsort(together[:, 0], kind="stable")]
        return together[:, 0].astype(np.int64), together[:, 1]

    def from_first(self, value: Any) -> Any:
        """Give all processes what the first one has: anything that JSON holds."""
        if self.size == 1:
            return value
        content = (
            np.frombuffer(json.dumps(value).encode(), np.uint8).astype(np.int32)
            if self.is_first
            else np.zeros(0, np.int32)
        )
        length = int(self.add([float(len(content))])[0])
        message = paddle.to_tensor(content if self.is_first else np.zeros(length, np.int32))
        with _told():
            paddle.distributed.broadcast(message, src=0)
        return json.loads(message.numpy().astype(np.uint8).tobytes())


@contextmanager
def _told() -> Iterator[None]:
    """Tell the end of another process in one line; what was saved before stays."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise TrainingError(
            f"another process of this training has ended ({said[:120]}); see its log, then go on with --resume"
        ) from error


def join_world() -> World:
    """Meet the other processes, where `paddle.distributed.launch` has started several.

    Raises:
        TrainingError: They cannot be reached.
    """
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) < 2:
        return World()
    with _told():
        paddle.distributed.init_parallel_env()
    return World(paddle.distributed.get_rank(), paddle.distributed.get_world_size())
