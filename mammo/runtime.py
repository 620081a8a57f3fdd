"""Loads paddle in the order that works, with threads and BLAS path set before; chooses the device and seeds.

Importing this module sets environment variables: paddle and its BLAS read them once, when they load. It is the one
module that does more than define when it is imported. paddle itself is imported by `from mammo.runtime import paddle`.
"""

import contextlib
import importlib
import io
import logging
import math
import os
import random
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import TrainingError

# Libraries that use zlib load before paddle: paddlepaddle 2.6.2 exports its own zlib's functions to libraries that load
# later, and Python's zlib, which scikit-learn and albumentations use, then crashes (measured on Python 3.11).
IMPORTED_BEFORE_PADDLE = ("zlib", "cv2", "albumentations")
PLAIN_VARIABLE = "MAMMO_PLAIN_PADDLE"  # 1: the environment stays as it is, for the benchmark


def available_cores() -> int:
    """Count the cores this process may use: its affinity mask, limited by the cgroup's quota (v2 and v1)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def _cgroup_quota() -> float | None:
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text(encoding="utf-8").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((root / "cpu/cpu.cfs_quota_us").read_text(encoding="utf-8"))
        return quota_us / int((root / "cpu/cpu.cfs_period_us").read_text(encoding="utf-8")) if quota_us > 0 else None
    except (OSError, ValueError):
        return None


def peak_memory_mb() -> float:
    """Return the most memory that this process had, in MB; `ru_maxrss` would include the process that started it."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6


def amd_blas_path() -> str | None:
    """Return the code path that paddle's bundled MKL (of 2019) should take on an AMD processor; None on others.

    By default it takes a slow one there. 5 is its AVX2 path, 7 its AVX-512 path. Measured with ResNet50_vd training at
    224 px, batch 8, two cores of a Zen 5 EPYC, images/s: 1.45 by default, 5.3 with 5, 7.0 with 7.
    """
    try:
        processor = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    if "AuthenticAMD" not in processor:
        return None
    return "7" if " avx512f " in processor and " avx512dq " in processor else "5"


def configure_environment() -> None:
    """Set thread counts and the BLAS path for libraries that load later; variables that the user set stay.

    paddle itself sets OMP_NUM_THREADS=1 on import.
    """
    if os.environ.get(PLAIN_VARIABLE) == "1":
        return
    together = int(os.environ.get("PADDLE_LOCAL_SIZE", "1"))  # processes of paddle.distributed.launch on this machine
    if together > 1 and os.environ.get("OMP_NUM_THREADS") == "1":
        del os.environ["OMP_NUM_THREADS"]  # set by the launcher's own paddle
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // together)))
    path = amd_blas_path()
    if path:
        os.environ.setdefault("MKL_DEBUG_CPU_TYPE", path)
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would search online for a newer release


configure_environment()


def __getattr__(name: str) -> Any:
    """Load paddle on first use, after the libraries that must come before it."""
    if name != "paddle":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    said = io.StringIO()
    # paddle's import warns about ccache, its own deprecated parts, and the thread count that this module sets.
    with warnings.catch_warnings(), contextlib.redirect_stderr(said), _signals_held():
        warnings.simplefilter("ignore")
        for module in IMPORTED_BEFORE_PADDLE:
            importlib.import_module(module)
        paddle = importlib.import_module("paddle")
    logging.getLogger(__name__).debug("paddle's import said: %s", said.getvalue())
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    globals()["paddle"] = paddle
    return paddle


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Delay SIGINT and SIGTERM while paddle is imported, and restore the handlers, which paddle replaces.

    paddle's own handler ends the process with a C++ traceback; it is active until the import ends.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: heard.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    if heard:
        signal.raise_signal(heard[0])


def select_device(wanted: str = "auto") -> str:
    """Set paddle's device.

    Args:
        wanted: `auto` (the GPU where paddle finds one), `cpu` or `gpu`.

    Returns:
        The device as paddle names it, such as `cpu` or `gpu:0`.

    Raises:
        TrainingError: `gpu` was asked for and paddle finds none.
    """
    from mammo.runtime import paddle

    has_gpu = paddle.device.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if wanted == "gpu" and not has_gpu:
        advice = "install paddlepaddle-gpu for your CUDA or set device=cpu"
        raise TrainingError(f"device: gpu was asked for, but this paddle finds none; {advice}")
    shared_out = os.environ.get("FLAGS_selected_gpus", "0")  # noqa: SIM112 (paddle.distributed.launch names it so)
    own = f"gpu:{shared_out.split(',')[0]}"
    paddle.device.set_device(own if has_gpu and wanted != "cpu" else "cpu")
    return str(paddle.get_device())


def thread_count() -> int:
    """Return how many threads paddle uses, as the environment says."""
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def restore_threads() -> None:
    """Restore paddle's threads: Paddle Inference leaves one (measured, 2.6.2 and 3.3.1), and sums then differ."""
    from mammo.runtime import paddle

    paddle.base.core.set_num_threads(thread_count())


def describe() -> str:
    """Return device, threads, BLAS path and versions on one line."""
    from mammo.runtime import paddle

    fast = os.environ.get("MKL_DEBUG_CPU_TYPE")
    blas = f"MKL (MKL_DEBUG_CPU_TYPE={fast})" if fast else "MKL (default)"
    threads = os.environ.get("OMP_NUM_THREADS", "?")
    versions = f"paddle {paddle.__version__}, numpy {np.__version__}"
    return f"device {paddle.get_device()}, {threads} threads, BLAS {blas}, {versions}"


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and paddle; done at the start of each epoch, so that a resumed run draws the same numbers."""
    from mammo.runtime import paddle

    random.seed(seed)
    np.random.seed(seed % 2**32)
    paddle.seed(seed)


def derived_seed(*parts: int) -> int:
    """Mix whole numbers such as (seed, epoch, index) into one 32-bit seed, the same on every machine."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0])
