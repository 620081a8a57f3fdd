"""Finds the films to predict in files, folders and tables, and scores them with an export in several processes."""

import functools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo.cases.table import BOX
from mammo.cases.words import path_as_meant
from mammo.errors import CaseError, DataMissingError, ImageError, in_one_line
from mammo.files import walk_files
from mammo.images.decode import FILM, is_unread_picture, kind_of
from mammo.images.geometry import Box
from mammo.parallel.spread import spread, spread_on_cluster
from mammo.serving.engines import AUTO
from mammo.serving.predictor import Prediction, open_export
from mammo.tables import read_table, row_faults, to_numbers

FEW = 4  # below this many films, starting workers takes longer than they save
_opened = functools.cache(open_export)


@dataclass(frozen=True)
class Job:
    """A film and the lesions on it; one box of None for a whole film."""

    path: Path
    boxes: tuple[Box | None, ...]


@dataclass(frozen=True)
class Asked:
    """One requested row: a film, perhaps a lesion on it, and the cells of its row in the table that named it."""

    path: Path
    box: Box | None = None
    cells: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What was requested.

    Attributes:
        asked: One for each row, in the requested order.
        columns: The names of `Asked.cells`.
        skipped: Number of other files in the folders, by kind.
        unreadable: Folders that cannot be read.
        loops: Links to folders that were already walked.
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
    """List the films: each named file, the files below folders that look like images, and those of a table of lesions.

    Args:
        paths: Files, and folders to walk; hidden files are skipped.
        boxes: A CSV with the columns image, x, y, width, height, such as a manifest; image is relative to the CSV.

    Raises:
        DataMissingError: A path does not exist, or there is no film.
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
        names = ", ".join(map(str, paths))
        message = f"{names}: expected films, found none among {skipped.total()} files"
        if pictures := [f"{count} {kind}" for kind, count in skipped.items() if is_unread_picture(kind)]:
            message += f"; {', '.join(pictures)} may be films in an unsupported form: convert to DICOM, PNG or TIFF"
        raise DataMissingError(message)
    closed = tuple(Path(str(error.filename)) for error in unreadable)
    return Found(tuple(asked), columns, skipped, closed, tuple(loops))


def _kind_of(path: Path) -> str:
    """Give a file's kind by its content; a file that cannot be opened counts as a film, so that its row says so."""
    try:
        return kind_of(path)
    except ImageError:
        return FILM


def _read_boxes(path: Path) -> tuple[list[Asked], tuple[str, ...]]:
    """Read a table's rows in their order, with all of their cells, and the names of its columns."""
    expected = f"a CSV with the columns image, {', '.join(BOX)}"
    table = read_table(path, expected, error=CaseError)
    if missing := [name for name in ("image", *BOX) if name not in table]:
        raise CaseError(f"{path}: has no column {', '.join(missing)}; expected {expected}")
    numbers = {name: to_numbers(table[name]) for name in BOX}
    images = table["image"].str.strip()
    checks = [(name, numbers[name].isna(), "must be a number") for name in BOX]
    checks += [(name, numbers[name] <= 0, "must be above 0") for name in BOX[2:]]
    checks.append(("image", images == "", "is empty"))
    errors = [error for name, bad, rule in checks for error in row_faults(bad, f"{name} {rule}", table[name], table)]
    if errors:
        raise CaseError(in_one_line(str(path), errors))
    boxes = zip(*numbers.values(), strict=True)
    asked = [
        Asked(path.parent / path_as_meant(image, path.parent), (x, y, width, height), tuple(cells))
        for image, (x, y, width, height), cells in zip(images, boxes, table.itertuples(index=False), strict=True)
    ]
    return asked, tuple(map(str, table))


def predict_films(
    jobs: Sequence[Job], export: Path, *, engine: str = AUTO, workers: int, untrusted: bool = False, cluster: str = ""
) -> Iterator[list[Prediction]]:
    """Score films in their order, several at a time.

    Args:
        jobs: Films and their lesions.
        export: A folder made by `mammo export`.
        engine: One of `predictor.ENGINES`, or `auto`.
        workers: Number of processes, each with one thread; a few films are scored in this one, with as many threads.
        untrusted: Decode each film in a separate process, with limits.
        cluster: Address of a cluster whose workers score instead; they must find films and export under the same names.

    Raises:
        WeightsError: The folder is not a complete export.
        SettingsError: The engine is unknown or not installed, or the cluster cannot be reached.
        LoaderError: A worker process ended unexpectedly.
    """
    alone = not cluster and (workers == 1 or len(jobs) < FEW)
    threads = workers if alone else 1
    _opened(export, engine=engine, threads=workers)  # so that an error of the export is reported once, by this process
    job = functools.partial(score_job, export=export, engine=engine, threads=threads, untrusted=untrusted)
    if cluster:
        yield from spread_on_cluster(job, jobs, cluster)
    else:
        yield from map(job, jobs) if alone else spread(job, jobs, workers, ordered=True)


def score_job(job: Job, *, export: Path, engine: str, threads: int, untrusted: bool) -> list[Prediction]:
    """Score one film; each process opens the export once."""
    return _opened(export, engine=engine, threads=threads).predict(job.path, job.boxes, untrusted=untrusted)
