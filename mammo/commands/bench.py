"""What `tools/bench.py` measures, by name: settings and options in, lines printed."""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from mammo.bench.measure import Finding, keep, show
from mammo.errors import SettingsError, TrainingError
from mammo.progress import print_table
from mammo.settings.load import load_settings
from mammo.settings.schema import Settings

TRAIN = [sys.executable, "-m", "mammo", "train"]


def bench_train(settings: Settings, arguments: argparse.Namespace) -> None:
    """Training steps with the runtime's settings and as paddle comes, in processes that take turns."""
    from mammo.bench.steps import bench_train

    _finish([bench_train(settings, arguments.steps, arguments.rounds)], settings)


def bench_learn(settings: Settings, arguments: argparse.Namespace) -> None:
    """How the loss falls over some steps."""
    from mammo.bench.steps import loss_fall, run_steps

    result = run_steps(settings, arguments.steps, cases=arguments.cases)
    print(" ".join(f"{loss:.3f}" for loss in result.losses))
    first, last = (statistics.fmean(part) for part in (result.losses[:10], result.losses[-10:]))
    print(
        f"mean loss {first:.3f} of the first ten steps, {last:.3f} of the last ten: {loss_fall(result.losses):.0%} lower"
    )
    print(f"{result.images_per_s:.2f} images/s")


def bench_yardstick(settings: Settings, arguments: argparse.Namespace) -> None:
    """Frozen features and logistic regression on the test part."""
    from mammo.bench.yardstick import measure_yardstick

    print(
        "test part, frozen features: "
        + ", ".join(f"{name} {metric}" for name, metric in measure_yardstick(settings).items())
    )


def bench_evaluation(settings: Settings, arguments: argparse.Namespace) -> None:
    """How long intervals and judgement take."""
    from mammo.bench.evaluation import bench_evaluation

    _finish([bench_evaluation(settings.evaluation.resamples, arguments.cases or 100_000, arguments.rounds)], settings)


def bench_soak(settings: Settings, arguments: argparse.Namespace) -> None:
    """Kill a training at random, resume it, and compare its end with one left alone.

    Raises:
        TrainingError: They differ.
    """
    from mammo.bench.soak import soak

    result = soak(settings, TRAIN, kills=arguments.kills, minutes=arguments.minutes)
    print_table("where kills came", ("moment", "kills"), sorted(result.kills.items()))
    print(
        f"{result.kills.total()} kills in {result.seconds / 60:.1f} minutes; damaged checkpoints met: {result.fell_back}"
    )
    print(
        f"runs killed and resumed to their end: {result.ended}; otherwise than the unbroken one: {len(result.differing)}"
    )
    if result.differing:
        raise TrainingError(
            "; ".join(
                f"{run}: differs from the unbroken run in {', '.join(keys)}" for run, keys in result.differing.items()
            )
        )


def bench_infer(settings: Settings, arguments: argparse.Namespace) -> None:
    """Engines beside each other, on an export of a run, and 8-bit numbers."""
    _finish(_engines(arguments), settings)


def bench_prepare(settings: Settings, arguments: argparse.Namespace) -> None:
    """Preparing full films, and many small ones."""
    from mammo.bench.prepare import MANY, bench_many, bench_prepare

    _finish([bench_prepare(arguments.rounds), bench_many(arguments.cases or MANY)], settings)


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
    from mammo.bench.steps import bench_start

    _finish([bench_start(settings, arguments.rounds)], settings)


def bench_finetune(settings: Settings, arguments: argparse.Namespace) -> None:
    """Frozen stages, the head alone, and PyTorch beside full steps."""
    from mammo.bench.finetune import bench_finetune

    _finish([bench_finetune(arguments.rounds)], settings)


def bench_reach(settings: Settings, arguments: argparse.Namespace) -> None:
    """How long two recipes train until a validation AUC."""
    _finish([_reach(settings, arguments, rounds=arguments.rounds)], settings)


def bench_all(settings: Settings, arguments: argparse.Namespace) -> None:
    """Everything of the speed table, one after the other; what needs a trained run or a second recipe, where they are given."""
    from mammo.bench.evaluation import bench_evaluation
    from mammo.bench.finetune import bench_finetune
    from mammo.bench.growth import bench_growth
    from mammo.bench.limits import bench_limits
    from mammo.bench.loading import bench_loader
    from mammo.bench.prepare import bench_many, bench_prepare
    from mammo.bench.steps import bench_start
    from mammo.serving.export_description import read_description

    if arguments.run:
        read_description(arguments.run / "export")
    if arguments.against:
        _recipes(settings, arguments)

    def findings() -> Iterator[Finding]:
        yield bench_limits(arguments.rounds)
        yield bench_start(settings, arguments.rounds)
        yield bench_prepare(arguments.rounds)
        yield bench_many()
        yield bench_loader(arguments.rounds)
        yield bench_finetune(arguments.rounds)
        yield bench_evaluation(settings.evaluation.resamples, 10_000, arguments.rounds)
        yield from bench_growth(arguments.cases or 100_000)
        if arguments.run:
            yield from _engines(arguments)
        if arguments.against:
            yield _reach(settings, arguments, rounds=1)

    _finish(findings(), settings)
    for option, what in (("run", "inference"), ("against", "the time to an AUC")):
        if getattr(arguments, option) is None:
            print(f"left out, for want of --{option}: {what}")


def _engines(arguments: argparse.Namespace) -> Iterator[Finding]:
    from mammo.bench.inference import bench_engines, bench_int8

    if arguments.run is None:
        raise SettingsError("infer: expected --run RUN, an export of which lies in RUN/export (tools/export.py RUN)")
    export = arguments.run / "export"
    yield from bench_engines(arguments.run, export, arguments.rounds)
    yield bench_int8(arguments.run, export, arguments.rounds)


def _reach(settings: Settings, arguments: argparse.Namespace, *, rounds: int) -> Finding:
    from mammo.bench.reach import bench_reach

    return bench_reach(*_recipes(settings, arguments), arguments.auc, TRAIN, rounds)


def _recipes(settings: Settings, arguments: argparse.Namespace) -> tuple[tuple[str, Settings], tuple[str, Settings]]:
    if arguments.against is None or arguments.config is None:
        raise SettingsError("reach: expected -c PLAIN.yaml --against QUICK.yaml, two recipes for the same cases")
    quick = load_settings(arguments.against, arguments.override)
    return (arguments.config.stem, settings), (arguments.against.stem, quick)


def _finish(findings: Iterable[Finding], settings: Settings) -> None:
    """Show each finding as it comes, and write what is there after each: one that fails costs none of those before it."""
    folder = settings.output / "bench" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    found: list[Finding] = []
    for finding in findings:
        found.append(finding)
        show(finding)
        written = ", ".join(map(str, keep(found, folder)))
        print(f"written: {written}", flush=True)


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
    "reach": bench_reach,
    "all": bench_all,
}
