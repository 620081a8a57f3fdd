"""Measures what the machine can do at most: matrix products, memory and disk."""

import os
import tempfile

import numpy as np

from mammo.bench.measure import Finding, Series, describe_machine, per_second, seconds
from mammo.runtime import paddle

GEMM_SIZE = 1024
GEMM_LEAST_S = 0.5
BYTES = 256 << 20
BLOCK_BYTES = 8 << 20


def bench_limits(rounds: int) -> Finding:
    """Measure each limit in each round."""
    products = Series("float32 matrix products", tuple(_gemm_gflops() for _ in range(rounds)), "GFLOP/s")
    memory = Series("memory, one core", tuple(_memory_gb_per_s() for _ in range(rounds)), "GB/s")
    written, read = zip(*(_disk_mb_per_s() for _ in range(rounds)), strict=True)
    disk = Series("disk, written", written, "MB/s"), Series("disk, read", read, "MB/s")
    about = ", ".join(f"{name} {value}" for name, value in describe_machine().items())
    return Finding("limits of this machine", (products, memory, *disk), notes=(about,))


def _gemm_gflops() -> float:
    """Multiply float32 matrices with paddle, on the threads that it uses."""
    first, second = paddle.rand([GEMM_SIZE, GEMM_SIZE]), paddle.rand([GEMM_SIZE, GEMM_SIZE])
    return per_second(lambda: paddle.matmul(first, second), 1, GEMM_LEAST_S) * 2 * GEMM_SIZE**3 / 1e9


def _memory_gb_per_s() -> float:
    """Copy an array on one core; bytes read and written are counted."""
    source = np.ones(BYTES // 8)
    target = np.empty_like(source)
    np.copyto(target, source)
    return 2 * BYTES / seconds(lambda: np.copyto(target, source)) / 1e9


def _disk_mb_per_s() -> tuple[float, float]:
    """Write a file to the disk, and read it back, from the disk where the system can be asked to drop its copy."""
    block = np.random.default_rng(0).bytes(BLOCK_BYTES)
    with tempfile.NamedTemporaryFile() as file:

        def write() -> None:
            for _ in range(BYTES // BLOCK_BYTES):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())

        def read() -> None:
            while file.read(BLOCK_BYTES):
                pass

        written_s = seconds(write)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        return BYTES / written_s / 1e6, BYTES / seconds(read) / 1e6
