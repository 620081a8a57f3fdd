"""Files, folders and a table of lesions enter; predictions leave, made by an export in several processes."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mammo.cases.table import BOX
from mammo.errors import CaseError, DataMissingError, ImageError, in_one_line
from mammo.files import walk_files
from mammo.images.decode import looks_like_image
from mammo.images.geometry import Box
from mammo.prepare.cluster import spread_on_cluster
from mammo.prepare.workers import spread
from mammo.serving.engines import AUTO
from mammo.serving.predictor import Prediction, Predictor, open_export
from mammo.tables import line_of, read_table, row_faults, to_numbers

FEW = 4  # below this many films, starting workers takes longer than they save


@dataclass(frozen=True)
class Job:
    """A film, and the lesions on it; one box of None for a whole film."""

    path: Path
    boxes: tuple[Box | None, ...] = (None,)


@dataclass(frozen=True)
class Found:
    """Films to be scored, and how many other files the folders hold."""

    jobs: tuple[Job, ...]
    others: int


def find_films(paths: Sequence[Path], boxes: Path | None = None) -> Found:
    """List the films: each file named, those below folders that look like images, and those of a table of lesions.

    Args:
        paths: Files, and folders that are walked; hidden files are passed by.
        boxes: A CSV with the columns image, x, y, width, height, such as a manifest; image is relative to it.

    Raises:
        DataMissingError: A path is not there, or no film is.
        CaseError: The table breaks its contract.
    """
    jobs = _read_boxes(boxes) if boxes is not None else []
    others = 0
    for path in paths:
        if not path.exists():
            raise DataMissingError(f"{path}: there is no such file or folder; expected films or folders of them")
        for file in walk_files(path):
            if file == path or _may_be_film(file):
                jobs.append(Job(file))
            else:
                others += 1
    jobs = list(dict.fromkeys(jobs))
    if not jobs:
        raise DataMissingError(f"{', '.join(map(str, paths))}: expected films, found none among {others} files")
    return Found(tuple(jobs), others)


def predict_films(
    jobs: Sequence[Job], export: Path, *, engine: str = AUTO, workers: int, untrusted: bool = False, cluster: str = ""
) -> Iterator[list[Prediction]]:
    """Score films in their order, some at a time.

    Args:
        jobs: Films and their lesions.
        export: A folder made by tools/export.py.
        engine: Of `engines.ENGINES`, or `auto`.
        workers: Processes, each with one thread; a few films are scored in this one, with as many threads.
        untrusted: Decode each film in a process of its own, with limits.
        cluster: Whose workers score instead; they see the films and the export under the same names.

    Raises:
        WeightsError: It is no whole export.
        SettingsError: The engine is unknown or not installed, or the cluster cannot be reached.
        LoaderError: A worker ended before its time.
    """
    alone = not cluster and (workers == 1 or len(jobs) < FEW)
    threads = workers if alone else 1
    _opened(export, engine, workers)  # here, so that what is wrong with it is told once
    job = functools.partial(score_job, export=export, engine=engine, threads=threads, untrusted=untrusted)
    if cluster:
        yield from spread_on_cluster(job, jobs, cluster)
    else:
        yield from map(job, jobs) if alone else spread(job, jobs, workers, ordered=True)


def score_job(job: Job, *, export: Path, engine: str, threads: int, untrusted: bool) -> list[Prediction]:
    """Score one film; the export is opened once in each process."""
    return _opened(export, engine, threads).predict(job.path, job.boxes, untrusted=untrusted)


@functools.cache
def _opened(export: Path, engine: str, threads: int) -> Predictor:
    return open_export(export, engine=engine, threads=threads)


def _may_be_film(path: Path) -> bool:
    """Tell by content; what cannot be opened counts, so that it is told and not passed by."""
    try:
        return looks_like_image(path)
    except ImageError:
        return True


def _read_boxes(path: Path) -> list[Job]:
    expected = f"a CSV with the columns image, {', '.join(BOX)}"
    table = read_table(path, expected, error=CaseError)
    if missing := [name for name in ("image", *BOX) if name not in table]:
        raise CaseError(f"{path}: has no column {', '.join(missing)}; expected {expected}")
    numbers = {name: to_numbers(table[name]) for name in BOX}
    faults = [fault for name in BOX for fault in row_faults(numbers[name].isna(), f"{name} must be a number", table[name], table)]
    faults += [fault for name in BOX[2:] for fault in row_faults(numbers[name] <= 0, f"{name} must be above 0", table[name], table)]
    faults += [f"line {line_of(table, row)}: image is empty" for row in range(len(table)) if not table["image"].iloc[row]]
    if faults:
        raise CaseError(in_one_line(str(path), faults))
    by_film: dict[Path, list[Box | None]] = {}
    for image, *box in zip(table["image"], *(numbers[name] for name in BOX), strict=True):
        by_film.setdefault(path.parent / image, []).append((box[0], box[1], box[2], box[3]))
    return [Job(film, tuple(dict.fromkeys(found))) for film, found in by_film.items()]
