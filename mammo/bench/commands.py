"""What `tools/bench.py` measures, by name: settings and options in, lines printed."""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from mammo.bench.measure import Finding, keep, show
from mammo.errors import SettingsError, TrainingError
from mammo.progress import print_table
from mammo.settings import Settings


def bench_train(settings: Settings, arguments: argparse.Namespace) -> None:
    """Training steps with the runtime's settings and as paddle comes, in processes that take turns."""
    from mammo.bench.steps import run_in_process

    ours, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(arguments.rounds):
            plain.append(run_in_process(settings, arguments.steps, folder=Path(folder), plain=True).images_per_s)
            ours.append(run_in_process(settings, arguments.steps, folder=Path(folder), plain=False).images_per_s)
            print(f"images/s: plain paddle {plain[-1]:.2f}, with the runtime {ours[-1]:.2f}, ratio {ours[-1] / plain[-1]:.2f}", flush=True)
    ratio = statistics.median(fast / slow for fast, slow in zip(ours, plain, strict=True))
    print(f"medians: plain {statistics.median(plain):.2f}, ours {statistics.median(ours):.2f} images/s, ratio {ratio:.2f}")


def bench_learn(settings: Settings, arguments: argparse.Namespace) -> None:
    """How the loss falls over some steps."""
    from mammo.bench.steps import loss_fall, run_steps

    result = run_steps(settings, arguments.steps, cases=arguments.cases)
    print(" ".join(f"{loss:.3f}" for loss in result.losses))
    first, last = (statistics.fmean(part) for part in (result.losses[:10], result.losses[-10:]))
    print(f"mean loss {first:.3f} of the first ten steps, {last:.3f} of the last ten: {loss_fall(result.losses):.0%} lower")
    print(f"{result.images_per_s:.2f} images/s")


def bench_yardstick(settings: Settings, arguments: argparse.Namespace) -> None:
    """Frozen features and logistic regression on the test part."""
    from mammo.bench.yardstick import measure_yardstick

    print("test part, frozen features: " + ", ".join(f"{name} {metric}" for name, metric in measure_yardstick(settings).items()))


def bench_evaluation(settings: Settings, arguments: argparse.Namespace) -> None:
    """How long intervals and judgement take."""
    from mammo.bench.evaluation import time_evaluation

    rows = []
    for timing in time_evaluation(settings.evaluation.resamples):
        seconds = (timing.intervals_s, timing.without_calibration_s, timing.judgement_s)
        rows.append((f"{timing.cases:,}", f"{timing.patients:,}", *(f"{value:.2f}" for value in seconds)))
        print(f"{timing.cases:,} cases: done", flush=True)
    header = ("cases", "patients", "one level s", "no slope s", "whole judgement s")
    print_table(f"intervals by {settings.evaluation.resamples} resamples of the patients, one core", header, rows)


def bench_soak(settings: Settings, arguments: argparse.Namespace) -> None:
    """Kill a training at random, resume it, and compare its end with one left alone.

    Raises:
        TrainingError: They differ.
    """
    from mammo.bench.soak import soak

    result = soak(settings, Path(sys.argv[0]).with_name("train.py"), kills=arguments.kills, minutes=arguments.minutes)
    print_table("where kills came", ("moment", "kills"), sorted(result.kills.items()))
    print(f"{result.kills.total()} kills in {result.seconds / 60:.1f} minutes; damaged checkpoints met: {result.fell_back}")
    print(f"runs killed and resumed to their end: {result.ended}; otherwise than the unbroken one: {len(result.differing)}")
    if result.differing:
        raise TrainingError(
            "; ".join(f"{run}: differs from the unbroken run in {', '.join(keys)}" for run, keys in result.differing.items())
        )


def bench_infer(settings: Settings, arguments: argparse.Namespace) -> None:
    """Engines beside each other, on an export of a run."""
    _finish([*_engines(arguments)], settings)


def bench_prepare(settings: Settings, arguments: argparse.Namespace) -> None:
    """Preparing full films, and many small ones."""
    from mammo.bench.prepare import bench_many, bench_prepare

    _finish([bench_prepare(arguments.rounds), bench_many()], settings)


def bench_loader(settings: Settings, arguments: argparse.Namespace) -> None:
    """Augmented images from the store."""
    from mammo.bench.loading import bench_loader

    _finish([bench_loader(arguments.rounds)], settings)


def bench_growth(settings: Settings, arguments: argparse.Namespace) -> None:
    """All that looks at every case, for 1,000 to 1,000,000 of them."""
    from mammo.bench.growth import bench_growth

    _finish(bench_growth(arguments.cases or 1_000_000), settings)


def bench_start(settings: Settings, arguments: argparse.Namespace) -> None:
    """How long commands take to begin."""
    from mammo.bench.start import bench_start

    _finish([bench_start(settings, arguments.rounds)], settings)


def bench_finetune(settings: Settings, arguments: argparse.Namespace) -> None:
    """Frozen stages, the head alone, and PyTorch beside full steps."""
    from mammo.bench.finetune import bench_finetune

    _finish([bench_finetune(arguments.rounds)], settings)


def bench_all(settings: Settings, arguments: argparse.Namespace) -> None:
    """Everything of the speed table, one after the other."""
    from mammo.bench.finetune import bench_finetune
    from mammo.bench.growth import bench_growth
    from mammo.bench.limits import bench_limits
    from mammo.bench.loading import bench_loader
    from mammo.bench.prepare import bench_prepare
    from mammo.bench.start import bench_start

    findings = [
        bench_limits(arguments.rounds),
        bench_start(settings, arguments.rounds),
        bench_prepare(arguments.rounds),
        bench_loader(arguments.rounds),
        bench_finetune(arguments.rounds),
        *_engines(arguments),
        *bench_growth(arguments.cases or 100_000),
    ]
    _finish(findings, settings)


def _engines(arguments: argparse.Namespace) -> list[Finding]:
    from mammo.bench.inference import bench_engines

    if arguments.run is None:
        raise SettingsError("infer: expected --run RUN, an export of which lies in RUN/export (tools/export.py RUN)")
    return bench_engines(arguments.run, arguments.run / "export", arguments.rounds)


def _finish(findings: Sequence[Finding], settings: Settings) -> None:
    for finding in findings:
        show(finding)
    folder = settings.output / "bench" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    print("written: " + ", ".join(map(str, keep(findings, folder))))


BENCHMARKS: dict[str, Callable[[Settings, argparse.Namespace], None]] = {
    "train": bench_train,
    "learn": bench_learn,
    "yardstick": bench_yardstick,
    "evaluation": bench_evaluation,
    "soak": bench_soak,
    "infer": bench_infer,
    "prepare": bench_prepare,
    "loader": bench_loader,
    "growth": bench_growth,
    "start": bench_start,
    "finetune": bench_finetune,
    "all": bench_all,
}
