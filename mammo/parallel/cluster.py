"""Runs a job on many items on a Ray or Dask cluster, through joblib, and returns the results in order.

Preparing, auditing and predicting share this module.
"""

import importlib
import importlib.util
import itertools
import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TypeVar

import joblib

from mammo.errors import LoaderError, SettingsError, first_line

logger = logging.getLogger(__name__)
EXPECTED = (
    "expected dask://HOST:PORT of a scheduler, or ray://HOST:PORT of a Ray client server "
    "(ray://auto for the cluster of this machine)"
)
AHEAD = 8  # items handed out at a time, for each of the cluster's cores
CONNECT_S = 20
Item = TypeVar("Item")
Result = TypeVar("Result")


def spread_on_cluster(job: Callable[[Item], Result], items: Iterable[Item], address: str) -> Iterator[Result]:
    """Run a job on each item on the workers of a running cluster.

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
    kind, _, place = address.partition("://")
    waiting = iter(items)
    with BACKENDS[kind](address, place) as cores:
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
    if importlib.util.find_spec(LIBRARIES[kind]) is None:
        raise _needs_extra(address, f"{LIBRARIES[kind]} is not installed")


def _needs_extra(address: str, why: str) -> SettingsError:
    return SettingsError(f"--cluster {address}: needs the extra: pip install 'mammo[cluster]' ({why})")


def _unreachable(address: str, error: Exception) -> SettingsError:
    return SettingsError(f"--cluster {address}: cannot be reached ({type(error).__name__}); {EXPECTED}")


def _run(job: Callable[[Item], Result], items: list[Item], cores: int, address: str) -> list[Result]:
    try:
        return list(joblib.Parallel(cores, batch_size=1)(joblib.delayed(job)(item) for item in items))
    except Exception as error:  # each library has its own error tree; a bad film is a result, not an error of the job
        raise LoaderError(
            f"--cluster {address}: the work stopped ({type(error).__name__}: {first_line(error)}); "
            "finished results are kept: run the command again"
        ) from error


@contextmanager
def _dask(address: str, place: str) -> Iterator[int]:
    try:
        distributed = importlib.import_module("distributed")
        client = distributed.Client(f"tcp://{place}", timeout=CONNECT_S, set_as_default=False)
    except ImportError as error:
        raise _needs_extra(address, f"import failed: {error}") from error
    except (OSError, TimeoutError, ValueError) as error:
        raise _unreachable(address, error) from error
    try:
        with joblib.parallel_config(backend="dask", client=client):
            yield sum(client.nthreads().values())
    finally:
        client.close()


@contextmanager
def _ray(address: str, place: str) -> Iterator[int]:
    try:
        ray, ray_joblib = importlib.import_module("ray"), importlib.import_module("ray.util.joblib")
        ray.init(address=place if place == "auto" else address, log_to_driver=False, logging_level=logging.ERROR)
    except ImportError as error:
        raise _needs_extra(address, f"import failed: {error}") from error
    except (OSError, ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(address, error) from error
    try:
        ray_joblib.register_ray()
        # Ray prints about its workers to stdout, which may be the command's result.
        with joblib.parallel_config(backend="ray"), redirect_stdout(sys.stderr):
            yield int(ray.cluster_resources().get("CPU", 0))
    finally:
        ray.shutdown()


BACKENDS = {"dask": _dask, "ray": _ray}
LIBRARIES = {"dask": "distributed", "ray": "ray"}
