"""A dataset in, batches out: images float32 [N, V, C, H, W], present bool [N, V], target [N, 2], weight [N], index [N]."""

import contextlib
import errno
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import SimpleQueue, active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mammo.data.dataset import Item, MammogramDataset
from mammo.data.sampler import Blend, EpochSampler
from mammo.errors import LoaderError, MammoError
from mammo.runtime import paddle

SHARED_MEMORY = Path("/dev/shm")
PARENT_CHECK_S = 0.5
LEAST_SHARED_BYTES = 1 << 20  # with less, paddle cannot even start its workers
Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def collate(items: Sequence[Item]) -> Batch:
    """Stack cases to a batch."""
    return (
        np.stack([item.image for item in items]),
        np.stack([item.present for item in items]),
        np.stack([item.target for item in items]),
        np.array([item.weight for item in items], np.float32),
        np.array([item.index for item in items], np.int64),
    )


class Batches(Protocol):
    """Gives batches, as often as it is gone through."""

    def __len__(self) -> int:
        """How many."""

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        """Image, present, target, weight, index."""


class Loader:
    """`paddle.io.DataLoader` whose faults are told in one line: of a worker process, they end the main one in obscure words."""

    def __init__(
        self, dataset: MammogramDataset, *, workers: int, collate_fn: Callable[[Sequence[Item]], Batch], **how: Any
    ) -> None:
        """Make the loader.

        Args:
            dataset: Of cases.
            workers: Processes; 0 loads in this one.
            collate_fn: Makes a batch of cases.
            how: `batch_sampler`, or `batch_size` and its kin, as paddle takes them.
        """
        self.dataset = dataset
        with _telling_no_space():
            self._told: SimpleQueue[MammoError] | None = SimpleQueue() if workers else None
        source = _Telling(dataset, self._told) if self._told else dataset
        self._loader = paddle.io.DataLoader(
            source, num_workers=workers, collate_fn=collate_fn, worker_init_fn=_Worker(), **how
        )

    def __len__(self) -> int:
        return len(self._loader)

    def draws(self) -> Iterator[list[int] | list[Blend]]:
        """What each batch is drawn of, in the order of the batches."""
        yield from self._loader.batch_sampler

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        """Give the batches.

        Raises:
            MammoError: As reading a case raises it.
            LoaderError: A worker has ended.
        """
        if self._told is None:
            yield from self._loader
            return
        if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free < LEAST_SHARED_BYTES:
            raise LoaderError(_why("no worker can start"))
        batches, workers = None, _Workers()
        while True:
            with workers.watched(), _telling_no_space():
                batches = batches or workers.started(self._loader)
                batch = next(batches, None)
            if batch is None:
                return
            if (batch[-1].numpy() < 0).any():
                raise self._told.get()
            yield batch


class _Workers:
    """A loader's processes, whose end is told where a batch is asked for.

    paddle would tell it by a signal of its own, in the middle of a step, whose half would then be saved (measured).
    """

    def __init__(self) -> None:
        self._processes: list[BaseProcess] = []

    def started(self, loader: paddle.io.DataLoader) -> Iterator[list[paddle.Tensor]]:
        """Start them."""
        before = set(active_children())
        try:
            batches = iter(loader)
        except KeyboardInterrupt:
            sys.unraisablehook = _without_half_made
            raise
        self._processes = [process for process in active_children() if process not in before]
        if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return batches

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Hold that none has died, before and after a batch is got.

        Raises:
            LoaderError: One has; what it left in shared memory is removed.
        """
        self._check()
        try:
            yield
        except SystemError as error:
            self._check()
            raise LoaderError(_why("a worker process ended")) from error

    def _check(self) -> None:
        dead = {process.pid: process.exitcode for process in self._processes if process.exitcode}
        if not dead:
            return
        for worker in dead:
            _forget(worker)
        code = next(iter(dead.values()))
        how = f" (killed by signal {signal.Signals(-code).name})" if code < 0 else ""
        raise LoaderError(_why(f"a worker process ended{how}"))


def _without_half_made(what: "sys.UnraisableHookArgs") -> None:
    """Let paddle's loader, stopped while it was made, say nothing of what it misses on its way out."""
    if "_DataLoaderIter" not in repr(what.object):
        sys.__unraisablehook__(what)


def _forget(worker: int | None) -> None:
    """Remove the batches that a worker left in shared memory: nothing else does when it or its parent is killed."""
    for file in SHARED_MEMORY.glob(f"paddle_{worker}_*"):
        with contextlib.suppress(OSError):
            file.unlink()


@contextmanager
def _telling_no_space() -> Iterator[None]:
    """Tell full shared memory; only around the loader's own doings, since elsewhere it is a disk that is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise LoaderError(_why("a worker process ended")) from error


class _Telling(paddle.io.Dataset):
    """Sends a fault of reading a case to the main process, and a blank case in its place; the batch is never learnt from."""

    def __init__(self, dataset: MammogramDataset, told: "SimpleQueue[MammoError]") -> None:
        super().__init__()
        self._dataset, self._told = dataset, told

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, draw: int) -> Item:
        try:
            return self._dataset[draw]
        except MammoError as error:
            self._told.put(error)
            return self._dataset.blank()


class _Worker:
    """Sets a worker process up: signals are the main one's, and the worker ends with it.

    A terminal sends Ctrl-C to all processes; the main one finishes its step and ends the workers. Killed, it can end none:
    paddle's workers would wait for it for ever, and hold its lock on the run (measured).
    """

    def __init__(self) -> None:
        self._parent = os.getpid()

    def __call__(self, worker: int) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def _end_with_parent(self) -> None:
        while os.getppid() == self._parent:
            time.sleep(PARENT_CHECK_S)
        _forget(os.getpid())
        os._exit(1)


def _why(how: str) -> str:
    shared = ""
    if SHARED_MEMORY.is_dir():
        usage = shutil.disk_usage(SHARED_MEMORY)
        shared = f" ({usage.free >> 20} of {usage.total >> 20} MiB free; a container takes --shm-size=1g)"
    return (
        f"loading images: {how}; the memory may be full, or shared memory, {SHARED_MEMORY}{shared}: free it, "
        "or set training.workers=0, which loads in the main process"
    )


def training_loader(dataset: MammogramDataset, sampler: EpochSampler, *, workers: int) -> Loader:
    """Make the loader of a training part; the epoch is set on dataset and sampler before each pass."""
    return Loader(dataset, workers=workers, collate_fn=collate, batch_sampler=sampler)


def evaluation_loader(dataset: MammogramDataset, *, batch_size: int, workers: int = 0) -> Loader:
    """Make the loader of a part to be scored: every case once, in order, the last batch as small as it comes."""
    return Loader(dataset, workers=workers, collate_fn=collate, batch_size=batch_size, shuffle=False, drop_last=False)
