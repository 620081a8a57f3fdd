"""Measure speed and memory on this machine: `mammo bench train -c quickstart`. Results go to OUTPUT/bench."""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mammo.commands.shared import add_settings, at_least, config_file, read_settings, use_device
from mammo.errors import SettingsError, TrainingError
from mammo.settings.load import load_settings
from mammo.settings.schema import Settings

if TYPE_CHECKING:
    from mammo.bench.measure import Finding

Benchmark = Callable[[Settings, argparse.Namespace], None]
TRAIN = [sys.executable, "-m", "mammo", "train"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mammo bench`."""
    add_settings(parser)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"  {name:<11}{benchmark.__doc__}" for name, benchmark in BENCHMARKS.items())
    parser.add_argument("what", choices=BENCHMARKS, metavar="WHAT", help="one of the benchmarks below")
    what = "training steps a measurement (default 8; learn: 50 is usual)"
    parser.add_argument("--steps", type=at_least(3), default=8, help=what, metavar="N")
    parser.add_argument("--rounds", type=at_least(1), default=3, help="measurements of each (default 3)", metavar="N")
    what = "learn: from the first N training cases; growth, evaluation: up to N; prepare: N small films (default: all)"
    parser.add_argument("--cases", type=at_least(0), default=0, help=what, metavar="N")
    parser.add_argument("--kills", type=at_least(1), default=40, help="soak: how many (default 40)", metavar="N")
    what = "soak: spread over about this many (default 30)"
    parser.add_argument("--minutes", type=at_least(1), default=30, help=what, metavar="N")
    parser.add_argument("--run", type=Path, metavar="RUN", help="infer, all: a run with its export/")
    parser.add_argument("--against", type=config_file, metavar="FILE", help="reach, all: the second recipe's settings")
    parser.add_argument("--auc", type=float, default=0.8, help="reach, all: of the validation part (default 0.8)")


def main(arguments: argparse.Namespace) -> None:
    """Run one benchmark."""
    settings = read_settings(arguments)
    use_device(settings)
    BENCHMARKS[arguments.what](settings, arguments)


def _train(settings: Settings, arguments: argparse.Namespace) -> None:
    """training steps with the runtime's settings and with paddle's own"""
    from mammo.bench.steps import bench_train

    _finish([bench_train(settings, arguments.steps, arguments.rounds)], settings)


def _learn(settings: Settings, arguments: argparse.Namespace) -> None:
    """how the loss falls over some steps"""
    from mammo.bench.steps import loss_fall, run_steps

    result = run_steps(settings, arguments.steps, cases=arguments.cases)
    print(" ".join(f"{loss:.3f}" for loss in result.losses))
    first, last = (statistics.fmean(part) for part in (result.losses[:10], result.losses[-10:]))
    fall = f"{loss_fall(result.losses):.0%} lower"
    print(f"mean loss {first:.3f} of the first ten steps, {last:.3f} of the last ten: {fall}")
    print(f"{result.images_per_s:.2f} images/s")


def _yardstick(settings: Settings, arguments: argparse.Namespace) -> None:
    """frozen features and logistic regression on the test part"""
    from mammo.bench.inference import measure_yardstick

    metrics = ", ".join(f"{name} {metric}" for name, metric in measure_yardstick(settings).items())
    print(f"test part, frozen features: {metrics}")


def _evaluation(settings: Settings, arguments: argparse.Namespace) -> None:
    """how long intervals and judgement take"""
    from mammo.bench.growth import bench_evaluation

    _finish([bench_evaluation(settings.evaluation.resamples, arguments.cases or 100_000, arguments.rounds)], settings)


def _soak(settings: Settings, arguments: argparse.Namespace) -> None:
    """a training killed at random and resumed, beside one left alone"""
    from mammo.bench.runs import soak
    from mammo.progress import print_table

    result = soak(settings, TRAIN, kills=arguments.kills, minutes=arguments.minutes)
    print_table("where kills came", ("moment", "kills"), sorted(result.kills.items()))
    minutes = f"{result.seconds / 60:.1f} minutes"
    print(f"{result.kills.total()} kills in {minutes}; damaged checkpoints found: {result.fell_back}")
    print(f"runs killed and resumed to their end: {result.ended}; unlike the unbroken one: {len(result.differing)}")
    unlike = [f"{run}: differs from the unbroken run in {', '.join(keys)}" for run, keys in result.differing.items()]
    if unlike:
        raise TrainingError("; ".join(unlike))


def _infer(settings: Settings, arguments: argparse.Namespace) -> None:
    """engines beside each other on a run's export, and 8-bit numbers"""
    _finish(_engines(arguments), settings)


def _prepare(settings: Settings, arguments: argparse.Namespace) -> None:
    """preparing full films, and many small ones"""
    from mammo.bench.prepare import MANY, bench_many, bench_prepare

    _finish([bench_prepare(arguments.rounds), bench_many(arguments.cases or MANY)], settings)


def _loader(settings: Settings, arguments: argparse.Namespace) -> None:
    """augmented images from the store"""
    from mammo.bench.steps import bench_loader

    _finish([bench_loader(arguments.rounds)], settings)


def _growth(settings: Settings, arguments: argparse.Namespace) -> None:
    """every step over all cases, for 1,000 to 1,000,000 of them"""
    from mammo.bench.growth import bench_growth

    _finish(bench_growth(arguments.cases or 1_000_000), settings)


def _start(settings: Settings, arguments: argparse.Namespace) -> None:
    """how long commands take to begin"""
    from mammo.bench.steps import bench_start

    _finish([bench_start(settings, arguments.rounds)], settings)


def _finetune(settings: Settings, arguments: argparse.Namespace) -> None:
    """frozen stages, the head alone, and PyTorch beside full steps"""
    from mammo.bench.steps import bench_finetune

    _finish([bench_finetune(arguments.rounds)], settings)


def _reach(settings: Settings, arguments: argparse.Namespace) -> None:
    """how long two recipes train until a validation AUC"""
    _finish([_recipes_reach(settings, arguments, rounds=arguments.rounds)], settings)


def _all(settings: Settings, arguments: argparse.Namespace) -> None:
    """everything of the speed table, one after the other"""
    from mammo.bench.growth import bench_evaluation, bench_growth
    from mammo.bench.measure import bench_limits
    from mammo.bench.prepare import bench_many, bench_prepare
    from mammo.bench.steps import bench_finetune, bench_loader, bench_start
    from mammo.serving.export_description import read_description

    if arguments.run:
        read_description(arguments.run / "export")
    if arguments.against:
        _recipes(settings, arguments)

    def findings() -> "Iterator[Finding]":
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
            yield _recipes_reach(settings, arguments, rounds=1)

    _finish(findings(), settings)
    for option, what in (("run", "inference"), ("against", "the time to an AUC")):
        if getattr(arguments, option) is None:
            print(f"not measured, because --{option} is missing: {what}")


def _engines(arguments: argparse.Namespace) -> "Iterator[Finding]":
    from mammo.bench.inference import bench_engines, bench_int8

    if arguments.run is None:
        raise SettingsError("infer: expected --run RUN, with an export in RUN/export (mammo export RUN makes it)")
    export = arguments.run / "export"
    yield from bench_engines(arguments.run, export, arguments.rounds)
    yield bench_int8(arguments.run, export, arguments.rounds)


def _recipes_reach(settings: Settings, arguments: argparse.Namespace, *, rounds: int) -> "Finding":
    from mammo.bench.runs import bench_reach

    return bench_reach(*_recipes(settings, arguments), arguments.auc, TRAIN, rounds)


def _recipes(settings: Settings, arguments: argparse.Namespace) -> tuple[tuple[str, Settings], tuple[str, Settings]]:
    if arguments.against is None or arguments.config is None:
        raise SettingsError("reach: expected -c PLAIN.yaml --against QUICK.yaml, two recipes for the same cases")
    quick = load_settings(arguments.against, arguments.override)
    return (arguments.config.stem, settings), (arguments.against.stem, quick)


def _finish(findings: "Iterable[Finding]", settings: Settings) -> None:
    """Show each finding when it is there, and write all so far, so that a later failure loses none of them."""
    from mammo.bench.measure import keep, show

    folder = settings.output / "bench" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    found: list[Finding] = []
    for finding in findings:
        found.append(finding)
        show(finding)
        written = ", ".join(map(str, keep(found, folder)))
        print(f"written: {written}", flush=True)


BENCHMARKS: dict[str, Benchmark] = {
    "train": _train,
    "learn": _learn,
    "yardstick": _yardstick,
    "evaluation": _evaluation,
    "soak": _soak,
    "infer": _infer,
    "prepare": _prepare,
    "loader": _loader,
    "growth": _growth,
    "start": _start,
    "finetune": _finetune,
    "reach": _reach,
    "all": _all,
}
