"""Runs a job on many items in worker processes, or on a Ray or Dask cluster, and returns the results.

Preparing, auditing, predicting and the phantom share this module. Both ways go through joblib.
"""

import importlib
import importlib.util
import itertools
import logging
import multiprocessing.resource_tracker
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TypeVar

import joblib
from joblib.externals.loky.backend import resource_tracker

from mammo.errors import LoaderError, SettingsError, first_line

logger = logging.getLogger(__name__)
WATCH_SECONDS = 0.5
QUIET_TRACKER = "ignore:resource_tracker:UserWarning"
EXPECTED = (
    "expected dask://HOST:PORT of a scheduler, or ray://HOST:PORT of a Ray client server "
    "(ray://auto for the cluster of this machine)"
)
AHEAD = 8  # items handed out at a time, for each of the cluster's cores
CONNECT_S = 20
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
    pool = joblib.Parallel(workers, "loky", **how, initializer=_end_with, initargs=(os.getpid(),))
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


def _end_with(parent: int) -> None:
    """End this worker when its parent ends: joblib's would live five minutes longer and keep its output open."""
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def spread_on_cluster(job: Callable[[Item], Result], items: Iterable[Item], address: str) -> Iterator[Result]:
    """Run a job on each item on the workers of a running cluster; results come in the order of the items.

    The workers must see the same files under the same names, and have the same mammo installed. If a worker is lost,
    another does its items (Dask), or the work ends (Ray): finished results are kept, and the command continues there.

    Args:
        job: Anything that can be pickled.
        items: What it runs on.
        address: `dask://…` or `ray://…`.

    Raises:
        SettingsError: The address is of no known kind, the library is not installed, or the cluster cannot be reached.
        LoaderError: Workers were lost.
    """
    check_address(address)
    waiting = iter(items)
    with ExitStack() as stack:
        cores = _connect(stack, address)
        if not cores:
            raise SettingsError(f"--cluster {address}: has no worker; start some")
        logger.info("cluster %s: %d cores", address, cores)
        while some := list(itertools.islice(waiting, AHEAD * cores)):
            yield from _run(job, some, cores, address)


def check_address(address: str) -> None:
    """Check an address's form and that its library is installed, without connecting.

    Raises:
        SettingsError: It is of no known kind, or the extra is missing.
    """
    kind, _, place = address.partition("://")
    if kind not in BACKENDS or not place:
        raise SettingsError(f"--cluster {address}: {EXPECTED}")
    library, _ = BACKENDS[kind]
    if importlib.util.find_spec(library) is None:
        raise _needs_extra(address, f"{library} is not installed")


def _needs_extra(address: str, why: str) -> SettingsError:
    return SettingsError(f"--cluster {address}: needs the extra: pip install 'mammo[cluster]' ({why})")


def _connect(stack: ExitStack, address: str) -> int:
    """Connect until the stack is closed, make the cluster joblib's backend, and return its number of cores."""
    _, connect = BACKENDS[address.partition("://")[0]]
    try:
        return connect(stack, address)
    except ImportError as error:
        raise _needs_extra(address, f"import failed: {error}") from error
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(f"--cluster {address}: cannot be reached ({type(error).__name__}); {EXPECTED}") from error


def _connect_dask(stack: ExitStack, address: str) -> int:
    distributed = importlib.import_module("distributed")
    client = distributed.Client(address.replace("dask", "tcp", 1), timeout=CONNECT_S, set_as_default=False)
    stack.callback(client.close)
    stack.enter_context(joblib.parallel_config(backend="dask", client=client))
    return sum(client.nthreads().values())


def _connect_ray(stack: ExitStack, address: str) -> int:
    ray, ray_joblib = importlib.import_module("ray"), importlib.import_module("ray.util.joblib")
    place = "auto" if address == "ray://auto" else address
    ray.init(address=place, log_to_driver=False, logging_level=logging.ERROR)
    stack.callback(ray.shutdown)
    ray_joblib.register_ray()
    stack.enter_context(joblib.parallel_config(backend="ray"))
    return int(ray.cluster_resources().get("CPU", 0))


BACKENDS = {"dask": ("distributed", _connect_dask), "ray": ("ray", _connect_ray)}


def _run(job: Callable[[Item], Result], items: list[Item], cores: int, address: str) -> list[Result]:
    try:
        with redirect_stdout(sys.stderr):  # Ray prints about its workers; stdout may be for results
            return list(joblib.Parallel(cores, batch_size=1)(joblib.delayed(job)(item) for item in items))
    except Exception as error:  # each library has its own error tree; a bad film is a result, not an error of the job
        raise LoaderError(
            f"--cluster {address}: the work stopped ({type(error).__name__}: {first_line(error)}); "
            "finished results are kept: run the command again"
        ) from error
