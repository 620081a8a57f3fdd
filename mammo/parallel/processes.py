"""A job and many things to do it on enter; the results leave as they come, from a few processes, of which none outlives this one."""

import multiprocessing.resource_tracker
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from typing import TypeVar

import joblib
from joblib.externals.loky.backend import resource_tracker

from mammo.errors import LoaderError

WATCH_SECONDS = 0.5
NO_REMARKS = "ignore:resource_tracker:UserWarning"
Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    job: Callable[[Item], Result], items: Iterable[Item], workers: int, *, ordered: bool = False
) -> Iterator[Result]:
    """Do a job on each item in processes of joblib's; results come as they are made, or `ordered` as the items are.

    A result must be small, a few kilobytes: results share one pipe, and a worker that is killed while it writes a large one
    leaves half of it there, for the rest of which joblib waits for ever. What fits the pipe is written in one go (pipe(7)).
    For the same reason items go one by one, not in joblib's batches, and few wait in their own pipe.

    Raises:
        LoaderError: A worker ended before its time, as the system ends one when the memory is full.
    """
    warnings.filterwarnings(
        "ignore", message=r"\d+ tasks (have|which) "
    )  # an error that ends the work is told by itself
    ahead = workers + min(workers, 4)
    how = {"return_as": "generator" if ordered else "generator_unordered", "batch_size": 1, "pre_dispatch": ahead}
    pool = joblib.Parallel(workers, "loky", **how, initializer=end_with, initargs=(os.getpid(),))
    try:
        with _silent_tidier(), _deaf():
            results = pool(joblib.delayed(job)(item) for item in items)
        yield from results
    except BrokenExecutor as error:
        names = sorted(set(re.findall(r"SIG[A-Z]+", str(error))))
        raise LoaderError(
            f"a worker process ended before its time{' (' + ', '.join(names) + ')' if names else ''}; where the memory was full, "
            "free some, or use fewer: data.prepare_workers=1; what was made is kept: run the command again, which goes on from there"
        ) from error


@contextmanager
def _silent_tidier() -> Iterator[None]:
    """Start joblib's processes so that the one which tidies up has no words of its own about what a killed worker left."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{before},{NO_REMARKS}" if before else NO_REMARKS
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach, which a terminal sends to all: they end with this one, not with tracebacks."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    for tracker in (multiprocessing.resource_tracker, resource_tracker):
        tracker.ensure_running()  # whose start would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits what is blocked
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(parent: int) -> None:
    """End this worker when its parent does, however that ends: joblib's would outlive it by five minutes, and hold its output open."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
