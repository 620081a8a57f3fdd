"""Reads and writes what the store keeps: stamps of source files, arrays with a checksum, and the index.

The index has one line per finished request, each with its own checksum.
"""

import contextlib
import hashlib
import io
import json
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mammo.errors import ImageError, StoreError
from mammo.files import written_beside
from mammo.images.geometry import Box
from mammo.images.limits import check_file_size

CHUNK_BYTES = 2**20
SUM = b', "crc32": '  # precedes a line's checksum, which is that of the line without it
# A line of another version or an edited line may raise these; a damaged line has a wrong checksum.
LINE_ERRORS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
Status = tuple[int, int, int, int]


@dataclass(frozen=True)
class FileStamp:
    """A file's size, times and content hash when it was read; `ctime_ns` is 0 if it was not recorded."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str
    ctime_ns: int = 0


def status_of(path: Path) -> Status:
    """Return a file's size, times of change and inode; any write or replacement changes one of them.

    Raises:
        ImageError: It is no regular file, or larger than an image may be.
        OSError: It is not there.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"{path}: is not a regular file; expected an image")
    check_file_size(path, status.st_size)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def stamp_file(path: Path, since: Status | None = None) -> FileStamp:
    """Record a file's size, times of change and content hash.

    With its status before an earlier read as `since`, what was read then and the hash are of the same content.

    Raises:
        ImageError: As for `status_of`, or it has changed since, or while it was hashed.
        OSError: It cannot be read.
    """
    since = since or status_of(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if file.tell() > since[0]:
                break
    if status_of(path) != since:
        advice = "run the command again when nothing writes to it any more"
        raise ImageError(f"{path}: the file changed while it was read; {advice}")
    return FileStamp(str(path), since[0], since[1], digest.hexdigest(), since[2])


def still_as(stamp: FileStamp) -> FileStamp | None:
    """Compare a file with its stamp: return None if its content differs, else its stamp as of now.

    Equal size and times (of content and of status, since a replaced file has its own status time) count as the same
    content. Otherwise the content is hashed; after a data set was copied, moved or touched this happens once, because
    the store records the new times if it may write. Both times are needed: those of film servers and archives may be
    constant. The inode is not compared: some network disks give new ones at each start.
    """
    path = Path(stamp.path)
    try:
        size, mtime_ns, ctime_ns, _ = status_of(path)
        if (size, mtime_ns, ctime_ns) == (stamp.bytes, stamp.mtime_ns, stamp.ctime_ns):
            return stamp
        now = stamp_file(path) if size == stamp.bytes else None
    except (OSError, ImageError):
        return None
    return now if now is not None and now.sha256 == stamp.sha256 else None


@dataclass(frozen=True)
class StoreRequest:
    """A request for an array: the whole film, the lesion at `box`, or the lesion that one of `masks` outlines.

    `pixel_aspect` is the width of the film's pixels over their height.
    """

    film: str
    box: Box | None = None
    masks: tuple[str, ...] = ()
    pixel_aspect: float = 1.0


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


def read_index(path: Path) -> dict[StoreRequest, Entry]:
    """Read the lines of an index; a damaged or cut-short line is skipped, and its image is prepared again."""
    known = {}
    for whole_line in path.read_bytes().splitlines() if path.is_file() else ():
        content, _, crc32 = whole_line.rpartition(SUM)
        line = content + b"}"
        if crc32 == b"%d}" % zlib.crc32(line):
            with contextlib.suppress(*LINE_ERRORS):
                request, entry = _parsed(json.loads(line))
                known[request] = entry
    return known


def write_line(index: BinaryIO, request: StoreRequest, entry: Entry, path: Path) -> None:
    """Add a line to an index opened without buffer, or raise StoreError."""
    line = json.dumps({"wish": asdict(request), "entry": asdict(entry)}).encode()
    write_all(index, line[:-1] + SUM + b"%d}\n" % zlib.crc32(line), path)


def write_all(index: BinaryIO, content: bytes, path: Path) -> None:
    """Write all bytes, or raise StoreError."""
    with writing(path):
        while content:
            content = content[index.write(content) :]


def _parsed(both: Any) -> tuple[StoreRequest, Entry]:
    wanted, made = both["wish"], both["entry"]  # the names that the first version of the index gave them
    aspect = float(wanted.get("pixel_aspect", 1.0))
    request = StoreRequest(wanted["film"], _box(wanted["box"]), tuple(wanted["masks"]), aspect)
    stamps = tuple(FileStamp(**stamp) for stamp in made["stamps"])
    seen = Seen(**made["seen"] | {"remarks": tuple(made["seen"]["remarks"])})
    boxes = {name: _box(made[name]) for name in ("film_box", "stored_box")}
    entry = Entry(**made | boxes | {"stamps": stamps, "seen": seen})
    texts = [request.film, *request.masks, entry.file, entry.film_hash, *(stamp.path for stamp in stamps)]
    texts += [seen.chest_wall, seen.laterality, *seen.remarks]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name that is not text")
    hash((request, entry))
    return request, entry


def _box(values: Any) -> Box | None:
    return None if values is None else (float(values[0]), float(values[1]), float(values[2]), float(values[3]))


def read_checked(path: Path, crc32: int) -> np.ndarray:
    """Read a prepared array as read-only after checking every byte of its file.

    Measured with the file in the system's cache and the pixels then converted to float32: 0.06 ms for a crop of
    291 × 291 pixels (0.09 ms memory-mapped without the check), 0.41 ms for a film of 1152 × 896 (0.20 ms).

    Args:
        path: The file.
        crc32: The checksum of the whole file, from its entry in the index.

    Returns:
        Of the shape and dtype that was written; the store has uint16 [height, width].

    Raises:
        StoreError: The file is missing, or a byte of it has changed.
    """
    try:
        content = path.read_bytes()
        if zlib.crc32(content) != crc32:
            raise ValueError(f"{len(content)} bytes whose checksum is not what was written")
        stream = io.BytesIO(content)
        np.lib.format.read_magic(stream)
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
        return np.frombuffer(content, dtype, offset=stream.tell()).reshape(shape)
    except (OSError, ValueError) as error:
        what = f"prepared image is missing or damaged ({getattr(error, 'strerror', None) or error})"
        raise StoreError(f"{path}: {what}; `mammo prepare` with the same settings makes it again") from error


def write_array(path: Path, pixels: np.ndarray) -> int:
    """Write an array beside its name and rename it into place.

    It is not flushed to the disk, which takes longer than preparing the array: after a power cut the checksum shows
    what is missing, and that is prepared again.

    Returns:
        The CRC-32 of the file.

    Raises:
        StoreError: It cannot be written; no part of it remains.
    """
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(pixels), version=(1, 0), allow_pickle=False)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
        with written_beside(path, durable=False) as beside:
            beside.write_bytes(stream.getbuffer())
    return zlib.crc32(stream.getbuffer())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's error about a failed write into a StoreError of one line that names the path."""
    try:
        yield
    except OSError as error:
        advice = "free space there or set data.store to a folder of yours, and run the command again, which continues"
        raise StoreError(f"{path}: cannot be written ({error.strerror or error}); {advice}") from error
