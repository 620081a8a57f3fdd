"""Reads and writes the store's index: one line per finished request, each with its own checksum."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mammo.images.geometry import Box
from mammo.prepare.arrays import writing
from mammo.prepare.stamps import FileStamp

SUM = b', "crc32": '  # precedes a line's checksum, which is that of the line without it
# A line of another version or an edited line may raise these; a damaged line has a wrong checksum.
LINE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class StoreRequest:
    """A request for an array: the whole film, the lesion at `box`, or the lesion that one of `masks` outlines."""

    film: str
    box: Box | None = None
    masks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """Findings on a film: the side of its chest wall, the header's laterality, and keys of `film.REMARKS`."""

    chest_wall: str
    laterality: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A prepared array: its file and checksum, the hash of its film's pixels, and the box in both."""

    file: str
    crc32: int
    film_hash: str
    film_box: Box | None
    stored_box: Box | None
    stamps: tuple[FileStamp, ...]
    seen: Seen


def read_index(path: Path) -> Iterator[tuple[StoreRequest, Entry]]:
    """Read the lines of an index; a damaged or cut-short line is skipped, and its image is prepared again."""
    if not path.is_file():
        return
    for whole_line in path.read_bytes().splitlines():
        content, _, crc32 = whole_line.rpartition(SUM)
        line = content + b"}"
        if crc32 != b"%d}" % zlib.crc32(line):
            continue
        try:
            known = _parsed(json.loads(line))
        except LINE_ERRORS:
            continue
        yield known


def write_line(index: BinaryIO, request: StoreRequest, entry: Entry, path: Path) -> None:
    """Add a line to an index opened without buffer.

    Raises:
        StoreError: It cannot be written.
    """
    line = json.dumps({"wish": asdict(request), "entry": asdict(entry)}).encode()
    write_all(index, line[:-1] + SUM + b"%d}\n" % zlib.crc32(line), path)


def write_all(index: BinaryIO, content: bytes, path: Path) -> None:
    """Write all bytes.

    Raises:
        StoreError: They cannot be written.
    """
    with writing(path):
        while content:
            content = content[index.write(content) :]


def _parsed(both: Any) -> tuple[StoreRequest, Entry]:
    wanted, made = both["wish"], both["entry"]  # the names that the first version of the index gave them
    request = StoreRequest(wanted["film"], _box(wanted["box"]), tuple(wanted["masks"]))
    stamps = tuple(FileStamp(**stamp) for stamp in made["stamps"])
    seen = Seen(**{**made["seen"], "remarks": tuple(made["seen"]["remarks"])})
    boxes = {name: _box(made[name]) for name in ("film_box", "stored_box")}
    entry = Entry(**{**made, **boxes, "stamps": stamps, "seen": seen})
    texts = [request.film, *request.masks, entry.file, entry.film_hash, *(stamp.path for stamp in stamps)]
    texts += [seen.chest_wall, seen.laterality, *seen.remarks]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name that is not text")
    hash((request, entry))
    return request, entry


def _box(values: Any) -> Box | None:
    return None if values is None else (float(values[0]), float(values[1]), float(values[2]), float(values[3]))
