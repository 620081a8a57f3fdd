"""The store's index: a line per wish ever fulfilled, each with a checksum of its own; lines in, entries out, and back."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mammo.images.geometry import Box
from mammo.prepare.arrays import writing
from mammo.prepare.stamps import FileStamp

SUM = b', "crc32": '  # before a line's checksum, which is of the line without it
# What a line of another version or of another's hand may raise; a damaged one has a wrong checksum.
FAULTS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class Wish:
    """What is wanted of a film: the film itself, or the lesion at `box`, or the lesion that one of `masks` outlines."""

    film: str
    box: Box | None = None
    masks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What was seen while a film was prepared: the breast's side of the film, the header's laterality, and `film.REMARKS` keys."""

    chest_wall: str
    laterality: str
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """A prepared array: its file, its checksum, its box (in its own pixels), and the hash of the film's pixels it came from."""

    file: str
    crc32: int
    film_hash: str
    film_box: Box | None
    stored_box: Box | None
    stamps: tuple[FileStamp, ...]
    seen: Seen


def read_index(path: Path) -> Iterator[tuple[Wish, Entry]]:
    """Read the lines of an index; one that is damaged, or cut short by a kill, is passed over, and its image made again."""
    if not path.is_file():
        return
    for whole_line in path.read_bytes().splitlines():
        content, _, crc32 = whole_line.rpartition(SUM)
        line = content + b"}"
        if crc32 != b"%d}" % zlib.crc32(line):
            continue
        try:
            known = _parsed(json.loads(line))
        except FAULTS:
            continue
        yield known


def write_line(index: BinaryIO, wish: Wish, entry: Entry, path: Path) -> None:
    """Add a line to an index opened without buffer.

    Raises:
        StoreError: It cannot be written.
    """
    line = json.dumps({"wish": asdict(wish), "entry": asdict(entry)}).encode()
    write_all(index, line[:-1] + SUM + b"%d}\n" % zlib.crc32(line), path)


def write_all(index: BinaryIO, content: bytes, path: Path) -> None:
    """Write bytes, all of them.

    Raises:
        StoreError: They cannot be written.
    """
    with writing(path):
        while content:
            content = content[index.write(content) :]


def _parsed(both: Any) -> tuple[Wish, Entry]:
    wish, entry = both["wish"], both["entry"]
    boxes = {name: _box(entry[name]) for name in ("film_box", "stored_box")}
    seen = entry["seen"]
    parts = {
        "stamps": tuple(FileStamp(**stamp) for stamp in entry["stamps"]),
        "seen": Seen(**{**seen, "remarks": tuple(seen["remarks"])}),
    }
    known = (Wish(wish["film"], _box(wish["box"]), tuple(wish["masks"])), Entry(**{**entry, **boxes, **parts}))
    texts = (
        known[0].film,
        *known[0].masks,
        known[1].file,
        known[1].film_hash,
        *(stamp.path for stamp in known[1].stamps),
    )
    texts += (known[1].seen.chest_wall, known[1].seen.laterality, *known[1].seen.remarks)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name that is no text")
    hash(known)
    return known


def _box(values: Any) -> Box | None:
    return None if values is None else (float(values[0]), float(values[1]), float(values[2]), float(values[3]))
