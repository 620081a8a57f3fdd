"""What this machine can give at most: the processor, matrix products, memory and disk, each measured beside what uses it."""

import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np

from mammo.runtime import available_cores

GEMM_SIZE = 1024
COPY_BYTES = 256 << 20
FILE_BYTES = 256 << 20


def describe_machine() -> dict[str, str | int | float]:
    """Name processor, cores, memory and system."""
    return {
        "processor": processor(),
        "cores": available_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
        if hasattr(os, "sysconf")
        else 0,
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """Its name, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def gemm_gflops() -> float:
    """Products of paddle's float32 matrices, on the threads that it uses: GFLOP/s."""
    from mammo.runtime import paddle

    first, second = paddle.rand([GEMM_SIZE, GEMM_SIZE]), paddle.rand([GEMM_SIZE, GEMM_SIZE])
    for _ in range(3):
        paddle.matmul(first, second)
    times = 20
    start = time.perf_counter()
    for _ in range(times):
        paddle.matmul(first, second)
    return times * 2 * GEMM_SIZE**3 / (time.perf_counter() - start) / 1e9


def memory_gb_per_s() -> float:
    """Copying an array, read and written bytes: GB/s, on one core."""
    source = np.ones(COPY_BYTES // 8)
    target = np.empty_like(source)
    np.copyto(target, source)
    start = time.perf_counter()
    np.copyto(target, source)
    return 2 * COPY_BYTES / (time.perf_counter() - start) / 1e9


def disk_mb_per_s(folder: Path) -> tuple[float, float]:
    """Writing a file through to the disk, and reading it back from there where the system lets go of it: MB/s."""
    block = np.random.default_rng(0).bytes(8 << 20)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        for _ in range(FILE_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = FILE_BYTES / (time.perf_counter() - start) / 1e6
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        start = time.perf_counter()
        while file.read(8 << 20):
            pass
        return written, FILE_BYTES / (time.perf_counter() - start) / 1e6
