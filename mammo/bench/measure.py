"""Measures things in turns and in fresh processes, shows findings, and measures the limits of this machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mammo.errors import TrainingError, last_line
from mammo.files import write_json, written_beside
from mammo.progress import print_table
from mammo.runtime import available_cores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAR_APART = 50  # from this ratio of bars on, the axis is logarithmic: the smaller bars would be invisible
GEMM_SIZE = 1024
GEMM_LEAST_S = 0.5
BYTES = 256 << 20
BLOCK_BYTES = 8 << 20
CALL = """import importlib, json, sys
module, name, arguments = sys.argv[1:]
print(json.dumps(getattr(importlib.import_module(module), name)(*json.loads(arguments))))"""


@dataclass(frozen=True)
class Series:
    """One figure, measured once in each round.

    Attributes:
        name: What was measured.
        values: One for each round.
        unit: Of the values; empty for a ratio.
        bar: What the median must reach, such as `>= 4` or `<= 2.5`; empty for no bar.
    """

    name: str
    values: tuple[float, ...]
    unit: str = ""
    bar: str = ""

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """The lowest and the highest value, for a table."""
        return f"{min(self.values):.3g}–{max(self.values):.3g}"

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the bar; None without one."""
        if not self.bar:
            return None
        sign, _, bound = self.bar.partition(" ")
        return self.median >= float(bound) if sign == ">=" else self.median <= float(bound)


@dataclass(frozen=True)
class Finding:
    """The result of one benchmark; with `cases`, each series has a value for each number of cases instead of rounds."""

    title: str
    series: tuple[Series, ...]
    ratios: tuple[Series, ...] = ()
    notes: tuple[str, ...] = ()
    cases: tuple[int, ...] = ()


def in_turns(what: Mapping[str, Callable[[], float]], rounds: int, unit: str) -> dict[str, Series]:
    """Call each function once a round, in their order, so that whatever slows the machine slows all of them."""
    values: dict[str, list[float]] = {name: [] for name in what}
    for number in range(1, rounds + 1):
        for name, measure in what.items():
            values[name].append(measure())
        figures = ", ".join(f"{name} {found[-1]:.3g}" for name, found in values.items())
        print(f"round {number} of {rounds}: {figures}", flush=True)
    return {name: Series(name, tuple(found), unit) for name, found in values.items()}


def ratio(one: Series, other: Series, bar: str = "", *, name: str = "") -> Series:
    """Divide one series by another, round by round."""
    values = tuple(first / second for first, second in zip(one.values, other.values, strict=True))
    return Series(name or f"{one.name} / {other.name}", values, bar=bar)


def limit(series: Series, bar: str) -> Series:
    """Compare a series itself with a bar."""
    return replace(series, name=f"{series.name}, {series.unit}", bar=bar)


def seconds(work: Callable[[], object]) -> float:
    """Measure how long a function takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def per_second(work: Callable[[], object], images: int, least_s: float) -> float:
    """Measure how many images a second a function handles that takes `images` a call, after a first call."""
    work()
    start, times = time.perf_counter(), 0
    while time.perf_counter() - start < least_s:
        work()
        times += 1
    return times * images / (time.perf_counter() - start)


def in_process(function: Callable[..., Any], *arguments: object, environment: Mapping[str, str] | None = None) -> Any:
    """Call a function in a fresh Python process.

    It is found by name in its module, takes numbers and text, and returns what JSON can express.

    Raises:
        TrainingError: It failed; the message has the last line of its error output.
    """
    line = [sys.executable, "-c", CALL, function.__module__, function.__name__, json.dumps(arguments)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        problem = last_line(done.stderr) or f"code {done.returncode}"
        raise TrainingError(f"the benchmark's process {function.__name__} failed: {problem}")
    return json.loads(last_line(done.stdout))


def show(finding: Finding) -> None:
    """Print a finding: medians with their spread, and ratios with their bars."""
    if finding.cases:
        by_size = [(one.name, *(f"{value:.3g}" for value in one.values), one.unit) for one in finding.series]
        print_table(finding.title, ("cases", *(f"{size:,}" for size in finding.cases), "unit"), by_size)
    else:
        rows = [(one.name, f"{one.median:.4g}", one.spread, one.unit) for one in finding.series]
        print_table(finding.title, ("what", "median", "from–to", "unit"), rows)
    if finding.ratios:
        verdicts = {None: "", True: "yes", False: "NO"}
        lines = [(one.name, f"{one.median:.3g}", one.spread, one.bar, verdicts[one.reached]) for one in finding.ratios]
        print_table("", ("ratio", "median", "from–to", "bar", "reached"), lines)
    for note in finding.notes:
        print(note)


def keep(findings: Sequence[Finding], folder: Path) -> tuple[Path, Path]:
    """Write `bench.json` and `bench.png` to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path, picture = folder / "bench.json", folder / "bench.png"
    write_json(path, {"machine": describe_machine(), "findings": [asdict(one) for one in findings]})
    with written_beside(picture, durable=False) as beside:
        draw(findings).savefig(beside, format="png", dpi=110)
    return path, picture


def describe_machine() -> dict[str, str | int | float]:
    """Name processor, cores, memory and system."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "processor": next(iter(names), platform.processor() or platform.machine()),
        "cores": available_cores(),
        "memory_gb": round(memory / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def draw(findings: Sequence[Finding]) -> Figure:
    """Draw each finding: bars of medians with the spread of the rounds, or lines over the number of cases."""
    from matplotlib.figure import Figure

    heights = [4.0 if one.cases else 1.2 + 0.4 * len(one.series) for one in findings]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained")
    places = figure.subplots(len(findings), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, finding in zip(places, findings, strict=True):
        units = ", ".join(dict.fromkeys(one.unit for one in finding.series))
        (_draw_lines if finding.cases else _draw_bars)(axes, finding, units)
        axes.set_title(finding.title, loc="left", fontsize=10)
        axes.tick_params(labelsize=8)
    return figure


def _draw_bars(axes: Axes, finding: Finding, units: str) -> None:
    names, medians = [one.name for one in finding.series], [one.median for one in finding.series]
    low = [one.median - min(one.values) for one in finding.series]
    high = [max(one.values) - one.median for one in finding.series]
    axes.barh(names, medians, xerr=[low, high], color="#4878a8", ecolor="#222222", capsize=3)
    axes.invert_yaxis()
    axes.set_xlabel(units, fontsize=8)
    if max(medians) > FAR_APART * min(medians):
        axes.set_xscale("log")


def _draw_lines(axes: Axes, finding: Finding, units: str) -> None:
    for one in finding.series:
        axes.plot(finding.cases, one.values, marker="o", label=one.name)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("cases", fontsize=8)
    axes.set_ylabel(units, fontsize=8)
    axes.grid(color="0.9")
    axes.legend(fontsize=8)


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
    from mammo.runtime import paddle  # only here: other benchmarks measure processes without it

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
