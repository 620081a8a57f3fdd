"""A cluster's address, a job and many things to do it on enter; the results leave in their order. joblib speaks to Ray or Dask."""

import importlib.util
import itertools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any, TypeVar

import joblib

from mammo.errors import LoaderError, SettingsError, first_line

logger = logging.getLogger(__name__)
EXPECTED = "expected dask://HOST:PORT of a scheduler, or ray://HOST:PORT of a Ray client server (ray://auto for the cluster of this machine)"
AHEAD = 8  # things handed out at a time, for each of the cluster's cores
CONNECT_S = 20
Item = TypeVar("Item")
Result = TypeVar("Result")


def spread_on_cluster(job: Callable[[Item], Result], items: Iterable[Item], address: str) -> Iterator[Result]:
    """Do a job on each item on the workers of a cluster that is running already.

    They must see the same files under the same names, and have the same mammo installed. A worker that is lost has its items
    done by another (Dask), or ends the work (Ray): what was made is kept, and the command goes on from there.

    Args:
        job: Anything that can be pickled.
        items: What it is done on.
        address: `dask://…` or `ray://…`.

    Raises:
        SettingsError: The address is of no known kind, the library is not installed, or the cluster cannot be reached.
        LoaderError: Workers were lost.
    """
    check_address(address)
    kind, _, place = address.partition("://")
    waiting = iter(items)
    with BACKENDS[kind](address, place) as cores:
        logger.info("cluster %s: %d cores", address, cores)
        while some := list(itertools.islice(waiting, AHEAD * cores)):
            yield from _done(job, some, cores, address)


def check_address(address: str) -> None:
    """Check an address's form, and that its library is installed; nothing is reached yet.

    Raises:
        SettingsError: It is of no known kind, or the extra is missing.
    """
    kind, _, place = address.partition("://")
    if kind not in BACKENDS or not place:
        raise SettingsError(f"--cluster {address}: {EXPECTED}")
    if importlib.util.find_spec(LIBRARIES[kind]) is None:
        raise SettingsError(
            f"--cluster {address}: needs the extra: pip install 'mammo[cluster]' ({LIBRARIES[kind]} is not installed)"
        )


def _done(job: Callable[[Item], Result], items: list[Item], cores: int, address: str) -> list[Result]:
    try:
        return list(joblib.Parallel(cores, batch_size=1)(joblib.delayed(job)(item) for item in items))
    except (
        Exception
    ) as error:  # each library has a tree of its own; what a job raises itself is no bad film, which is a result
        raise LoaderError(
            f"--cluster {address}: the work was cut off ({type(error).__name__}: {first_line(error)}); what was made is kept: "
            "run the command again"
        ) from error


@contextmanager
def _dask(address: str, place: str) -> Iterator[int]:
    distributed = _imported("distributed", address)
    try:
        client = distributed.Client(f"tcp://{place}", timeout=CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise SettingsError(f"--cluster {address}: cannot be reached ({type(error).__name__}); {EXPECTED}") from error
    try:
        cores = sum(client.nthreads().values())
        _refuse_none(cores, address)
        with joblib.parallel_config(backend="dask", client=client):
            yield cores
    finally:
        client.close()


@contextmanager
def _ray(address: str, place: str) -> Iterator[int]:
    ray = _imported("ray", address)
    from ray.util.joblib import register_ray

    try:
        ray.init(address=place if place == "auto" else address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ConnectionError, RuntimeError, ValueError) as error:
        raise SettingsError(f"--cluster {address}: cannot be reached ({type(error).__name__}); {EXPECTED}") from error
    try:
        register_ray()
        cores = int(ray.cluster_resources().get("CPU", 0))
        _refuse_none(cores, address)
        with (
            joblib.parallel_config(backend="ray"),
            redirect_stdout(sys.stderr),
        ):  # Ray tells of its workers there, where results may go
            yield cores
    finally:
        ray.shutdown()


def _imported(name: str, address: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise SettingsError(
            f"--cluster {address}: needs the extra: pip install 'mammo[cluster]' (import said: {error})"
        ) from error


def _refuse_none(cores: int, address: str) -> None:
    if not cores:
        raise SettingsError(f"--cluster {address}: has no worker; start some")


BACKENDS = {"dask": _dask, "ray": _ray}
LIBRARIES = {"dask": "distributed", "ray": "ray"}
