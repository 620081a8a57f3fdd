"""Loads batches, in this process or in workers.

A batch: image float32 [N, V, C, H, W], present bool [N, V], target float32 [N, 2 + A] (A auxiliary targets, NaN where
unknown), weight float32 [N], index int64 [N].
"""

import contextlib
import errno
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import SimpleQueue, active_children
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from mammo.data.dataset import Item, MammogramDataset
from mammo.data.sampler import Blend
from mammo.errors import LoaderError, MammoError
from mammo.runtime import paddle

SHARED_MEMORY = Path("/dev/shm")
PARENT_CHECK_S = 0.5
LEAST_SHARED_BYTES = 1 << 20  # with less, paddle cannot even start its workers


def collate(items: Sequence[Item]) -> tuple[np.ndarray, ...]:
    """Stack cases to a batch."""
    return (
        np.stack([item.image for item in items]),
        np.stack([item.present for item in items]),
        np.stack([item.target for item in items]),
        np.array([item.weight for item in items], np.float32),
        np.array([item.index for item in items], np.int64),
    )


class Loader:
    """A `paddle.io.DataLoader` that reports the errors of its workers in one line, as `MammoError`.

    Without `workers` it loads in this process. It takes a `batch_sampler`, or a `batch_size`, as paddle does: then
    every case comes once, in order.
    """

    def __init__(self, dataset: MammogramDataset, *, workers: int = 0, **how: Any) -> None:
        self.dataset = dataset
        self._errors: SimpleQueue[MammoError] | None = None
        if workers:
            with _reporting():
                self._errors = SimpleQueue()
        self._loader = paddle.io.DataLoader(
            _Sending(dataset, self._errors) if self._errors else dataset,
            num_workers=workers,
            collate_fn=collate,
            worker_init_fn=partial(_set_up_worker, os.getpid()),
            **how,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def draws(self) -> Iterator[list[int] | list[Blend]]:
        """The draws of each batch, in the order of the batches."""
        yield from self._loader.batch_sampler

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        """Give the batches.

        Raises:
            MammoError: As reading a case raises it.
            LoaderError: A worker has ended.
        """
        if self._errors is None:
            yield from self._loader
            return
        if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free < LEAST_SHARED_BYTES:
            raise LoaderError(_why("no worker can start"))
        with _reporting():
            batches, workers = self._start()
        while True:
            with _reporting(workers):
                batch = next(batches, None)
            if batch is None:
                return
            if (batch[-1].numpy() < 0).any():
                raise self._errors.get()
            yield batch

    def _start(self) -> tuple[Iterator[list[paddle.Tensor]], list[BaseProcess]]:
        """Start the workers; returns the batches and the workers.

        paddle would report a dead worker by a signal of its own, in the middle of a step; half of the step would be
        saved (measured). It is reported when a batch is asked for instead.
        """
        before = set(active_children())
        try:
            batches = iter(self._loader)
        except KeyboardInterrupt:
            sys.unraisablehook = _silent_if_half_made
            raise
        workers = [process for process in active_children() if process not in before]
        if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return batches, workers


def _silent_if_half_made(what: "sys.UnraisableHookArgs") -> None:
    """Print nothing of what paddle's loader, interrupted while it is made, misses when it is deleted."""
    if "_DataLoaderIter" not in repr(what.object):
        sys.__unraisablehook__(what)


def _clear_shared_memory(worker: int | None) -> None:
    """Remove the batches that a worker left in shared memory: nothing else does when it or its parent is killed."""
    for file in SHARED_MEMORY.glob(f"paddle_{worker}_*"):
        with contextlib.suppress(OSError):
            file.unlink()


@contextmanager
def _reporting(workers: Sequence[BaseProcess] = ()) -> Iterator[None]:
    """Report a dead worker, before the block and where it fails, and full shared memory.

    Only around the loader's own work, since elsewhere it is a disk that is full.

    Raises:
        LoaderError: What a dead worker left in shared memory is removed.
    """
    _check_workers(workers)
    try:
        yield
    except SystemError as error:
        _check_workers(workers)
        raise LoaderError(_why("a worker process ended")) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise LoaderError(_why("a worker process ended")) from error


def _check_workers(workers: Sequence[BaseProcess]) -> None:
    dead = {process.pid: process.exitcode for process in workers if process.exitcode}
    if not dead:
        return
    for worker in dead:
        _clear_shared_memory(worker)
    code = next(iter(dead.values()))
    how = f" (killed by signal {signal.Signals(-code).name})" if code < 0 else ""
    raise LoaderError(_why(f"a worker process ended{how}"))


class _Sending(paddle.io.Dataset):
    """Sends an error of reading a case to the main process, which drops the batch, and gives a blank case instead."""

    def __init__(self, dataset: MammogramDataset, errors: "SimpleQueue[MammoError]") -> None:
        super().__init__()
        self._dataset, self._errors = dataset, errors

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, draw: int) -> Item:
        try:
            return self._dataset[draw]
        except MammoError as error:
            self._errors.put(error)
            return self._dataset.blank()


def _set_up_worker(parent: int, worker: int) -> None:
    """Leave signals to the main process, and end the worker when the main process ends.

    A terminal sends Ctrl-C to all processes; the main one finishes its step and ends the workers. If it is killed,
    paddle's workers would wait for it for ever, and hold its lock on the run (measured).
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    _clear_shared_memory(os.getpid())
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
