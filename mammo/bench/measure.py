"""Things to be timed enter; figures measured in turns leave, with ratios, a table of 80 columns, JSON and a plot."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mammo.bench.machine import describe_machine
from mammo.files import write_text, written_beside
from mammo.progress import print_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAR_APART = 50  # times: the smaller bars would not be seen beside the larger ones


@dataclass(frozen=True)
class Series:
    """One thing, measured once in each round."""

    name: str
    values: tuple[float, ...]
    unit: str

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)


@dataclass(frozen=True)
class Ratio:
    """Two things of the same rounds: what one is over the other in each, and what that must reach (`>= 4`, `<= 2.5`; empty: no bar)."""

    name: str
    values: tuple[float, ...]
    bar: str = ""

    @property
    def median(self) -> float:
        """Of the rounds."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the bar; None without one."""
        if not self.bar:
            return None
        sign, _, bound = self.bar.partition(" ")
        return self.median >= float(bound) if sign == ">=" else self.median <= float(bound)


@dataclass(frozen=True)
class Finding:
    """What one benchmark found; with `cases`, each series has a value for each of these numbers of cases in place of rounds."""

    title: str
    series: tuple[Series, ...]
    ratios: tuple[Ratio, ...] = ()
    notes: tuple[str, ...] = ()
    cases: tuple[int, ...] = ()


def in_turns(what: Mapping[str, Callable[[], float]], rounds: int, unit: str) -> dict[str, Series]:
    """Measure each thing once a round, in their order, so that whatever slows the machine slows all of them.

    Args:
        what: Functions that return a figure, by name.
        rounds: How often.
        unit: Of the figures.
    """
    values: dict[str, list[float]] = {name: [] for name in what}
    for number in range(1, rounds + 1):
        for name, measure in what.items():
            values[name].append(measure())
        print(
            f"round {number} of {rounds}: " + ", ".join(f"{name} {found[-1]:.3g}" for name, found in values.items()),
            flush=True,
        )
    return {name: Series(name, tuple(found), unit) for name, found in values.items()}


def ratio(name: str, ours: Series, other: Series, bar: str = "") -> Ratio:
    """Divide round by round."""
    return Ratio(name, tuple(one / another for one, another in zip(ours.values, other.values, strict=True)), bar)


def seconds(work: Callable[[], object]) -> float:
    """How long something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def per_second(work: Callable[[], object], images: int, least_s: float) -> float:
    """How many images a second something does that does so many at a time, once it is warm."""
    work()
    start, times = time.perf_counter(), 0
    while time.perf_counter() - start < least_s:
        work()
        times += 1
    return times * images / (time.perf_counter() - start)


def show(finding: Finding) -> None:
    """Print a finding: medians with their spread, and ratios beside their bars."""
    if finding.cases:
        by_size = [(one.name, *(f"{value:.3g}" for value in one.values), one.unit) for one in finding.series]
        print_table(finding.title, ("cases", *(f"{size:,}" for size in finding.cases), "unit"), by_size)
    else:
        rows = [(one.name, f"{one.median:.4g}", _spread(one.values), one.unit) for one in finding.series]
        print_table(finding.title, ("what", "median", "from–to", "unit"), rows)
    if finding.ratios:
        verdicts = {None: "", True: "yes", False: "NO"}
        lines = [
            (one.name, f"{one.median:.3g}", _spread(one.values), one.bar, verdicts[one.reached])
            for one in finding.ratios
        ]
        print_table("", ("ratio", "median", "from–to", "bar", "reached"), lines)
    for note in finding.notes:
        print(note)


def keep(findings: Sequence[Finding], folder: Path) -> tuple[Path, Path]:
    """Write `bench.json` and `bench.png` to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path, picture = folder / "bench.json", folder / "bench.png"
    write_text(
        path, json.dumps({"machine": describe_machine(), "findings": [asdict(one) for one in findings]}, indent=1)
    )
    with written_beside(picture, durable=False) as beside:
        draw(findings).savefig(beside, format="png", dpi=110)
    return path, picture


def draw(findings: Sequence[Finding]) -> Figure:
    """For each finding bars, medians with the spread of the rounds; or lines over the number of cases."""
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
    medians = [one.median for one in finding.series]
    low = [one.median - min(one.values) for one in finding.series]
    high = [max(one.values) - one.median for one in finding.series]
    axes.barh(
        [one.name for one in finding.series], medians, xerr=[low, high], color="#4878a8", ecolor="#222222", capsize=3
    )
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


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.3g}–{max(values):.3g}"
