"""The processes that train one network together: which one this is, and how they add up, gather and share values."""

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
    """This process among those that `paddle.distributed.launch` started: connected by NCCL on GPUs, by Gloo on CPUs.

    All processes call the same methods in the same order, and each call waits for the others. One alone sends nothing.

    Attributes:
        rank: From 0; the first process writes the run folder.
        size: How many processes there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and judges."""
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
        with _reporting():
            paddle.distributed.all_reduce(total)
        return [float(value) for value in total.numpy()]

    @paddle.no_grad()
    def add_tensors(self, tensors: Sequence[paddle.Tensor], *, factor: float) -> None:
        """Add up tensors of one type over all processes, in place, in one message; then multiply them by a factor."""
        if self.size > 1 and tensors:
            with _reporting():
                together = paddle.concat([tensor.flatten() for tensor in tensors])
                paddle.distributed.all_reduce(together)
                pieces = paddle.split(together, [int(np.prod(tensor.shape)) for tensor in tensors])
                for tensor, piece in zip(tensors, pieces, strict=True):
                    paddle.assign(piece.reshape(tensor.shape), tensor)
        for tensor in tensors:
            tensor.scale_(factor)

    def gather(self, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gather the keys and values of all processes.

        Args:
            keys: int64 [n] of this process; no other process has one of them.
            values: float64 [n].

        Returns:
            Keys int64 and values float64 of all processes, by rising key.
        """
        if self.size == 1:
            return keys, values
        shares: list[tuple[np.ndarray, np.ndarray]] = []
        with _reporting():
            paddle.distributed.all_gather_object(shares, (keys, values))
        keys, values = (np.concatenate(arrays) for arrays in zip(*shares, strict=True))
        order = np.argsort(keys, kind="stable")
        return keys[order], values[order]

    def from_first(self, value: Any) -> Any:
        """Give all processes the value of the first one."""
        if self.size == 1:
            return value
        message = [value]
        with _reporting():
            paddle.distributed.broadcast_object_list(message, src=0)
        return message[0]


ALONE = World()


@contextmanager
def _reporting() -> Iterator[None]:
    """Report in one line that another process has ended; what was saved before is kept."""
    try:
        yield
    except (RuntimeError, OSError, ValueError) as error:
        message = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        what = f"another process of this training has ended ({message[:120]})"
        raise TrainingError(f"{what}; see its log, then go on with --resume") from error


def join_world() -> World:
    """Connect to the other processes, where `paddle.distributed.launch` has started several.

    Raises:
        TrainingError: They cannot be reached.
    """
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) < 2:
        return ALONE
    with _reporting():
        paddle.distributed.init_parallel_env()
    return World(paddle.distributed.get_rank(), paddle.distributed.get_world_size())
