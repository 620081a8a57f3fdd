"""The prepared store: films in, 16-bit arrays on disk out, made once, found again by content and settings.

`<folder>/<settings key>/index.jsonl` has a line per wish ever fulfilled; `<aa>/<content key>.npy` holds its pixels. Lines
are only added, arrays are written beside and renamed, so a killed run leaves nothing that a later one could misread.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import joblib
import numpy as np

from mammo.errors import StoreError
from mammo.images.geometry import Box
from mammo.images.preprocess import PreprocessSettings
from mammo.prepare.film_job import Fault, Made, Wish, make_wishes, stamp_file
from mammo.progress import track
from mammo.runtime import available_cores

logger = logging.getLogger(__name__)
FEW = 8  # below this many films, starting workers takes longer than they save


@dataclass(frozen=True)
class Entry:
    """A prepared array: its file, its checksum, its box (in its own pixels), and the hash of the film's pixels it came from."""

    file: str
    crc32: int
    film_hash: str
    film_box: Box | None
    stored_box: Box | None
    stamps: tuple[dict, ...]


class Store:
    """The prepared arrays of one data set under one `PreprocessSettings`."""

    def __init__(self, folder: Path, settings: PreprocessSettings) -> None:
        self.folder = folder / settings.key
        self.settings = settings
        self._entries = dict(_read_index(self.folder / "index.jsonl"))

    def fill(self, wishes: Sequence[Wish], *, workers: int = 0) -> tuple[dict[Wish, Entry], dict[Wish, Fault]]:
        """Prepare what is not there yet, or is stale or damaged.

        Args:
            wishes: What is wanted; repeats are fine.
            workers: Processes; 0 for one per core.

        Returns:
            The entry of each wish, and for those that could not be fulfilled, the fault.
        """
        unique = list(dict.fromkeys(wishes))
        good = self.usable(unique)
        todo = [wish for wish in unique if wish not in good]
        faults: dict[Wish, Fault] = {}
        if todo:
            logger.info("preparing %d views in %s, once; later runs find them there", len(todo), self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "settings.json").write_text(self.settings.model_dump_json(indent=1), encoding="utf-8")
            with (self.folder / "index.jsonl").open("a", encoding="utf-8") as index:
                for made in self._work(todo, workers):
                    if isinstance(made, Fault):
                        faults[made.wish] = made
                    else:
                        good[made.wish] = self._keep(made, index)
        return good, faults

    def usable(self, wishes: Iterable[Wish]) -> dict[Wish, Entry]:
        """Those wishes whose entry is there, whole, and of the file as it is now."""
        sources: dict[str, bool] = {}
        known = [(wish, self._entries[wish]) for wish in wishes if wish in self._entries]
        checked = track(known, len(known), "checking prepared images")
        return {wish: entry for wish, entry in checked if self._is_whole(entry) and self._is_current(entry, sources)}

    def path(self, entry: Entry) -> Path:
        """The file of an entry."""
        return self.folder / entry.file

    def pixels(self, entry: Entry) -> np.ndarray:
        """Open an entry's pixels, memory-mapped: uint16 [height, width].

        Raises:
            StoreError: The file is gone or damaged.
        """
        return open_array(self.path(entry))

    def _is_whole(self, entry: Entry) -> bool:
        try:
            return zlib.crc32(self.path(entry).read_bytes()) == entry.crc32
        except OSError:
            return False

    def _is_current(self, entry: Entry, sources: dict[str, bool]) -> bool:
        for stamp in entry.stamps:
            name = stamp["path"]
            if name not in sources:
                sources[name] = _is_unchanged(stamp)
            if not sources[name]:
                return False
        return True

    def _work(self, todo: list[Wish], workers: int) -> Iterator[Made | Fault]:
        by_film: dict[str, list[Wish]] = {}
        for wish in todo:
            by_film.setdefault(wish.film, []).append(wish)
        workers = min(workers or available_cores(), len(by_film))
        jobs = (joblib.delayed(make_wishes)(group, self.settings) for group in by_film.values())
        if workers == 1 or len(by_film) < FEW:
            results: Iterable[list[Made | Fault]] = (make_wishes(group, self.settings) for group in by_film.values())
        else:
            results = joblib.Parallel(n_jobs=workers, return_as="generator_unordered", batch_size="auto")(jobs)
        for made in track(results, len(by_film), "preparing films"):
            yield from made

    def _keep(self, made: Made, index: TextIO) -> Entry:
        stamps = tuple(asdict(stamp) for stamp in made.stamps)
        name = hashlib.sha256(repr(([stamp["sha256"] for stamp in stamps], made.film_box)).encode()).hexdigest()[:40]
        file = f"{name[:2]}/{name}.npy"
        crc32 = _write_array(self.folder / file, made.pixels)
        entry = Entry(file, crc32, made.film_hash, made.film_box, made.stored_box, stamps)
        index.write(json.dumps({"wish": asdict(made.wish), "entry": asdict(entry)}) + "\n")
        index.flush()
        self._entries[made.wish] = entry
        return entry


def open_array(path: Path) -> np.ndarray:
    """Open a prepared array, memory-mapped.

    Raises:
        StoreError: The file is gone or damaged.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: prepared image is missing or damaged ({error}); run the command again, which rebuilds it") from error


def _write_array(path: Path, pixels: np.ndarray) -> int:
    path.parent.mkdir(exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("wb") as file:
        np.save(file, pixels, allow_pickle=False)
    crc32 = zlib.crc32(beside.read_bytes())
    beside.replace(path)
    return crc32


def _is_unchanged(stamp: dict) -> bool:
    """Same size and time of change is taken for the same; another time with the same content too."""
    path = Path(stamp["path"])
    try:
        status = path.stat()
        if (status.st_size, status.st_mtime_ns) == (stamp["bytes"], stamp["mtime_ns"]):
            return True
        return status.st_size == stamp["bytes"] and stamp_file(path).sha256 == stamp["sha256"]
    except OSError:
        return False


def _read_index(path: Path) -> Iterator[tuple[Wish, Entry]]:
    """Read the lines of an index; a line cut short by a kill is passed over, and its image made again."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            both = json.loads(line)
            wish, entry = both["wish"], both["entry"]
            yield (
                Wish(wish["film"], _box(wish["box"]), tuple(wish["masks"])),
                Entry(
                    **{
                        **entry,
                        "film_box": _box(entry["film_box"]),
                        "stored_box": _box(entry["stored_box"]),
                        "stamps": tuple(entry["stamps"]),
                    }
                ),
            )
        except (ValueError, KeyError, TypeError):
            continue


def _box(values: list[float] | None) -> Box | None:
    return None if values is None else (values[0], values[1], values[2], values[3])
