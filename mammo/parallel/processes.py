"""Runs a job on many items in a few worker processes that end with this one, and returns the results as they come.

Preparing, auditing, predicting and the phantom share this module.
"""

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
QUIET_TRACKER = "ignore:resource_tracker:UserWarning"
Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    job: Callable[[Item], Result], items: Iterable[Item], workers: int, *, ordered: bool = False
) -> Iterator[Result]:
    """Run a job on each item in joblib's processes; results come as they are made, or `ordered` like the items.

    A result must be small, a few kilobytes. Results share one pipe: a worker that is killed while it writes a large
    result leaves half of it in the pipe, and joblib waits for the rest for ever. What fits the pipe is written at once
    (pipe(7)). For the same reason items are sent one by one, not in joblib's batches, and few wait in their own pipe.

    Raises:
        LoaderError: A worker ended early, for example because the memory was full.
    """
    warnings.filterwarnings("ignore", message=r"\d+ tasks (have|which) ")  # the error itself is reported
    ahead = workers + min(workers, 4)
    how = {"return_as": "generator" if ordered else "generator_unordered", "batch_size": 1, "pre_dispatch": ahead}
    pool = joblib.Parallel(workers, "loky", **how, initializer=end_with, initargs=(os.getpid(),))
    try:
        with _quiet_tracker(), _without_interrupts():
            results = pool(joblib.delayed(job)(item) for item in items)
        yield from results
    except BrokenExecutor as error:
        signals = ", ".join(sorted(set(re.findall(r"SIG[A-Z]+", str(error)))))
        raise LoaderError(
            f"a worker process ended early{f' ({signals})' if signals else ''}; if the memory was full, free some or "
            "use data.prepare_workers=1; finished results are kept: run the command again to continue"
        ) from error


@contextmanager
def _quiet_tracker() -> Iterator[None]:
    """Start joblib's resource tracker so that it prints no warnings about what a killed worker left."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = f"{before},{QUIET_TRACKER}" if before else QUIET_TRACKER
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, which a terminal sends to all: they end with this one, without tracebacks."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    for tracker in (multiprocessing.resource_tracker, resource_tracker):
        tracker.ensure_running()  # starting it later would unblock Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a new process inherits the blocked signals
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(parent: int) -> None:
    """End this worker when its parent ends: joblib's would live five minutes longer and keep its output open."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
