"""Finds the films to predict in files, folders and tables, and scores them with an export in several processes."""

import functools
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo.cases.table import BOX, LEAST_ASPECT
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
    """A film, with the aspect of its pixels, and the lesions on it; one box of None for a whole film."""

    path: Path
    boxes: tuple[Box | None, ...]
    pixel_aspect: float = 1.0


@dataclass(frozen=True)
class Asked:
    """One requested row: a film, perhaps a lesion on it, and the cells of its row in the table that named it.

    Rows with the same `finding`, unless it is "", are views of one finding.
    """

    path: Path
    box: Box | None = None
    cells: tuple[str, ...] = ()
    finding: str = ""
    pixel_aspect: float = 1.0


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
        by_film: dict[tuple[Path, float], dict[Box | None, None]] = {}
        for row in self.asked:
            by_film.setdefault((row.path, row.pixel_aspect), {})[row.box] = None
        return [Job(path, tuple(boxes), aspect) for (path, aspect), boxes in by_film.items()]

    @property
    def has_findings(self) -> bool:
        """Whether rows are joined to findings."""
        return any(row.finding for row in self.asked)

    @property
    def most_views(self) -> int:
        """The largest number of rows that are joined to a finding; 0 without findings."""
        return max(Counter(row.finding for row in self.asked if row.finding).values(), default=0)

    @property
    def aspects(self) -> str:
        """A hash of which films have pixels that are not square; "" if none has."""
        aspects = sorted({(str(row.path), row.pixel_aspect) for row in self.asked if row.pixel_aspect != 1})
        return hashlib.sha256(repr(aspects).encode()).hexdigest()[:16] if aspects else ""


def find_films(paths: Sequence[Path], boxes: Path | None = None, *, pixel_aspect: float = 1.0) -> Found:
    """List the films: each named file, the files below folders that look like images, and those of a table of lesions.

    Args:
        paths: Files, and folders to walk; hidden files are skipped.
        boxes: A CSV with the columns image, x, y, width, height, such as a manifest; image is relative to the CSV.
            Its columns finding_id and pixel_aspect are optional.
        pixel_aspect: The width of a film's pixels over their height, where the table does not say it.

    Raises:
        DataMissingError: A path does not exist, or there is no film.
        CaseError: The table breaks its contract.
    """
    asked, columns = _read_boxes(boxes, pixel_aspect) if boxes is not None else ([], ())
    skipped: Counter[str] = Counter()
    unreadable: list[OSError] = []
    loops: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DataMissingError(f"{path}: there is no such file or folder; expected films or folders of them")
        for file in walk_files(path, unreadable=unreadable, loops=loops):
            kind = FILM if file == path else _kind_of(file)
            if kind == FILM:
                asked.append(Asked(file, None, ("",) * len(columns), pixel_aspect=pixel_aspect))
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


def _read_boxes(path: Path, pixel_aspect: float) -> tuple[list[Asked], tuple[str, ...]]:
    """Read a table's rows in their order, with all of their cells, and the names of its columns."""
    expected = f"a CSV with the columns image, {', '.join(BOX)}"
    table = read_table(path, expected, error=CaseError)
    columns = [str(name) for name in table]
    if missing := [name for name in ("image", *BOX) if name not in table]:
        raise CaseError(f"{path}: has no column {', '.join(missing)}; expected {expected}")
    numbers = {name: to_numbers(table[name]) for name in BOX}
    images = table["image"].str.strip()
    checks = [(name, numbers[name].isna(), "must be a number") for name in BOX]
    checks += [(name, numbers[name] <= 0, "must be above 0") for name in BOX[2:]]
    checks.append(("image", images == "", "is empty"))
    for name in ("finding_id", "pixel_aspect"):
        if name not in table:
            table[name] = ""
    aspects = to_numbers(table["pixel_aspect"]).where(table["pixel_aspect"].str.strip() != "", pixel_aspect)
    rule = f"must be from {LEAST_ASPECT:g} to {1 / LEAST_ASPECT:g}, a pixel's width over its height"
    checks.append(("pixel_aspect", ~aspects.between(LEAST_ASPECT, 1 / LEAST_ASPECT), rule))
    spread = aspects.groupby(images).transform("nunique") > 1
    checks.append(("pixel_aspect", spread, "is not the same in all rows of this film"))
    joined = table["finding_id"].str.strip()
    for name in (name for name in ("patient_id", "laterality") if name in table):
        several = table[name].str.strip().groupby(joined).transform("nunique") > 1
        checks.append(("finding_id", several & (joined != ""), f"joins rows of different {name}"))
    errors = [error for name, bad, rule in checks for error in row_faults(bad, f"{name} {rule}", table[name], table)]
    if errors:
        raise CaseError(in_one_line(str(path), errors))
    boxes = zip(*numbers.values(), strict=True)
    asked = [
        Asked(path.parent / path_as_meant(image, path.parent), box, tuple(cells), finding, aspect)
        for image, box, cells, finding, aspect in zip(
            images, boxes, table[columns].itertuples(index=False), joined, aspects, strict=True
        )
    ]
    return asked, tuple(columns)


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
    return _opened(export, engine=engine, threads=threads).predict(
        job.path, job.boxes, pixel_aspect=job.pixel_aspect, untrusted=untrusted
    )
