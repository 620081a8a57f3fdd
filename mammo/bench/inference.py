"""An exported network on every engine, and the checkpoint in plain paddle: images a second, one by one and in batches."""

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mammo.bench.measure import Finding, Ratio, Series, in_turns, per_second
from mammo.inference.load import load_run
from mammo.runtime import available_cores, paddle
from mammo.serving.engines import Engine, installed_engines, open_engine
from mammo.serving.export_description import read_manifest

BATCH = 8
LEAST_S = 1.0  # each measurement runs at least so long
PLAIN = "paddle, layer by layer"
BAR = "<= 1.1"


def bench_engines(run: Path, export: Path, rounds: int) -> list[Finding]:
    """Measure single images and batches of `BATCH`.

    Args:
        run: The run folder that was exported.
        export: Its export.
        rounds: Of measurements in turns.
    """
    form = read_manifest(export).form
    network = load_run(run).network
    engines = {name: open_engine(export, name, threads=available_cores()) for name in installed_engines()}
    return [
        _bench(engines, network, np.random.default_rng(0).normal(size=(size, *form.shape)).astype(np.float32), rounds)
        for size in (1, BATCH)
    ]


def _bench(engines: dict[str, Engine], network: paddle.nn.Layer, image: np.ndarray, rounds: int) -> Finding:
    present = np.ones(image.shape[:2], bool)
    calls: dict[str, Callable[[], object]] = {
        name: functools.partial(engine, image, present) for name, engine in engines.items()
    }
    calls[PLAIN] = functools.partial(_plain, network, image, present)
    measured = in_turns(
        {name: functools.partial(per_second, call, len(image), LEAST_S) for name, call in calls.items()},
        rounds,
        "images/s",
    )
    title = f"inference, {image.shape[3]}×{image.shape[4]} px, batch {len(image)}"
    return Finding(title, tuple(measured.values()), _ratios(measured, next(iter(engines))))


def _ratios(measured: dict[str, Series], default: str) -> tuple[Ratio, ...]:
    """How much slower than the fastest of a round the default engine is, and how much faster than plain paddle."""
    engines = [series for name, series in measured.items() if name != PLAIN]
    fastest = [max(values) for values in zip(*(series.values for series in engines), strict=True)]
    ours = measured[default].values
    slower = tuple(best / own for best, own in zip(fastest, ours, strict=True))
    gained = tuple(own / plain for own, plain in zip(ours, measured[PLAIN].values, strict=True))
    return Ratio(f"fastest engine / {default}, the default", slower, BAR), Ratio(f"{default} / {PLAIN}", gained)


def _plain(network: paddle.nn.Layer, image: np.ndarray, present: np.ndarray) -> np.ndarray:
    with paddle.no_grad():
        return np.asarray(network(paddle.to_tensor(image), paddle.to_tensor(present)).numpy())
