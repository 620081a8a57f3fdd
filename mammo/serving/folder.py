"""Finds the films that a prediction is asked for, in files, folders and tables, and scores them by an export in several processes."""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo.cases.table import BOX
from mammo.cases.words import path_as_meant
from mammo.errors import CaseError, DataMissingError, ImageError, in_one_line
from mammo.files import walk_files
from mammo.images.contents import FILM, is_unread_picture, kind_of
from mammo.images.geometry import Box
from mammo.parallel.cluster import spread_on_cluster
from mammo.parallel.processes import spread
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
class Asked:
    """One row that was asked for: a film, perhaps a lesion on it, and the cells of its row in the table that named it."""

    path: Path
    box: Box | None = None
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What was asked for.

    Attributes:
        asked: A row each, in the order in which they were asked for.
        columns: The names of `Asked.cells`.
        skipped: How many files of each other kind the folders hold.
        unreadable: Folders that may not be read.
        loops: Links to folders that were walked already.
    """

    asked: tuple[Asked, ...]
    columns: tuple[str, ...] = ()
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable: tuple[Path, ...] = ()
    loops: tuple[Path, ...] = ()

    @property
    def jobs(self) -> list[Job]:
        """Each film once, with its lesions."""
        by_film: dict[Path, dict[Box | None, None]] = {}
        for row in self.asked:
            by_film.setdefault(row.path, {})[row.box] = None
        return [Job(path, tuple(boxes)) for path, boxes in by_film.items()]


def find_films(paths: Sequence[Path], boxes: Path | None = None) -> Found:
    """List the films: each file named, those below folders that look like images, and those of a table of lesions.

    Args:
        paths: Files, and folders that are walked; hidden files are skipped.
        boxes: A CSV with the columns image, x, y, width, height, such as a manifest; image is relative to it.

    Raises:
        DataMissingError: A path is not there, or no film is.
        CaseError: The table breaks its contract.
    """
    asked, columns = _read_boxes(boxes) if boxes is not None else ([], ())
    skipped: Counter[str] = Counter()
    unreadable: list[OSError] = []
    loops: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataMissingError(f"{path}: there is no such file or folder; expected films or folders of them")
        for file in walk_files(path, unreadable=unreadable, loops=loops):
            kind = FILM if file == path else _kind_of(file)
            if kind == FILM:
                asked.append(Asked(file, None, ("",) * len(columns)))
            else:
                skipped[kind] += 1
    if not asked and not unreadable:
        pictures = [f"{count} {kind}" for kind, count in skipped.items() if is_unread_picture(kind)]
        advice = f"; of these, {', '.join(pictures)} may be films in a form that is not read: convert them to DICOM, PNG or TIFF"
        raise DataMissingError(
            f"{', '.join(map(str, paths))}: expected films, found none among {skipped.total()} files"
            + (advice if pictures else "")
        )
    closed = tuple(Path(str(error.filename)) for error in unreadable)
    return Found(tuple(asked), columns, skipped, closed, tuple(loops))


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


def _kind_of(path: Path) -> str:
    """A file's kind by content; what cannot be opened counts as a film, so that it has a row that says so."""
    try:
        return kind_of(path)
    except ImageError:
        return FILM


def _read_boxes(path: Path) -> tuple[list[Asked], tuple[str, ...]]:
    """A table's rows in their order, with all of their cells."""
    expected = f"a CSV with the columns image, {', '.join(BOX)}"
    table = read_table(path, expected, error=CaseError)
    if missing := [name for name in ("image", *BOX) if name not in table]:
        raise CaseError(f"{path}: has no column {', '.join(missing)}; expected {expected}")
    numbers = {name: to_numbers(table[name]) for name in BOX}
    faults = [
        fault
        for name in BOX
        for fault in row_faults(numbers[name].isna(), f"{name} must be a number", table[name], table)
    ]
    faults += [
        fault
        for name in BOX[2:]
        for fault in row_faults(numbers[name] <= 0, f"{name} must be above 0", table[name], table)
    ]
    images = table["image"].str.strip()
    faults += [f"line {line_of(table, row)}: image is empty" for row in range(len(table)) if not images.iloc[row]]
    if faults:
        raise CaseError(in_one_line(str(path), faults))
    boxes = zip(*(numbers[name] for name in BOX), strict=True)
    rows = zip(images, boxes, table.itertuples(index=False), strict=True)
    asked = [
        Asked(path.parent / path_as_meant(image, path.parent), (x, y, width, height), tuple(cells))
        for image, (x, y, width, height), cells in rows
    ]
    return asked, tuple(map(str, table))
