"""What the machine gives at most, as a finding beside the others: products, memory, disk."""

import tempfile
from pathlib import Path

from mammo.bench.machine import describe_machine, disk_mb_per_s, gemm_gflops, memory_gb_per_s
from mammo.bench.measure import Finding, Series


def bench_limits(rounds: int) -> Finding:
    """Measure each, a few times."""
    with tempfile.TemporaryDirectory() as folder:
        disk = [disk_mb_per_s(Path(folder)) for _ in range(rounds)]
    series = (
        Series("float32 matrix products", tuple(gemm_gflops() for _ in range(rounds)), "GFLOP/s"),
        Series("memory, one core", tuple(memory_gb_per_s() for _ in range(rounds)), "GB/s"),
        Series("disk, written", tuple(written for written, _ in disk), "MB/s"),
        Series("disk, read", tuple(read for _, read in disk), "MB/s"),
    )
    about = describe_machine()
    return Finding(
        "limits of this machine", series, notes=(", ".join(f"{name} {value}" for name, value in about.items()),)
    )
