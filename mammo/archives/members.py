"""The members of a .zip or .tar, one by one, with what they are and a way to read them; no name or number is trusted yet."""

import bz2
import gzip
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol, cast

BLOCK_BYTES = 1 << 20
HEADER_BYTES = 4 << 20  # what may stand between the members of a tar: long names, padding
XZ_MEMORY_BYTES = 256 << 20  # xz -9 needs 65 MiB; a file may ask for 4 GiB
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
ZIP_ENCRYPTED = 0x1 | 0x40 | 0x2000  # APPNOTE.TXT 4.4.4: bits 0, 6 and 13
ZIP_ENTRY = b"PK\1\2"  # APPNOTE.TXT 4.3.12: what each member in the list begins with
ZIP_ENTRY_BYTES = 512  # on average; with a name as long as CBIS-DDSM's longest it has 350
ZIP_END_BYTES = 128 << 10  # what zipfile reads to find the list: the last 64 KiB and a little
TAR_KINDS = {
    tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a FIFO",
}  # fmt: skip
MODE_KINDS = {
    0o120000: "a symbolic link",
    0o020000: "a device",
    0o060000: "a device",
    0o010000: "a FIFO",
    0o140000: "a socket",
}
FILE_TYPE = 0o170000  # of a mode: stat's S_IFMT
DAMAGED = (
    zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, ValueError,
    KeyError, IndexError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError, struct.error,
)  # fmt: skip


class RefusedError(Exception):
    """Why an archive is refused; the message lacks only the archive's name."""


class Readable(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Read at most so many bytes; none at the end."""


@dataclass(frozen=True)
class Member:
    """`kind` says what it is where it is neither a plain file nor a folder; `open` reads its content."""

    name: str
    size: int
    is_folder: bool
    kind: str
    open: Callable[[], IO[bytes] | None]

    def __str__(self) -> str:
        return "member '" + self.name[:120].encode("unicode_escape", "replace").decode() + "'"


@contextmanager
def open_members(archive: Path, most: int) -> Iterator[Iterator[Member]]:
    """Open an archive, told a .zip or a .tar by its name.

    A member's content may be read until the next is asked for. All errors of `DAMAGED`, and OSError without a number, mean an
    archive that is damaged.

    Args:
        archive: The file.
        most: How many members are too many to look at all, where that can be told before: a .zip lists them in one piece.

    Raises:
        RefusedError: It lists more.
    """
    with archive.open("rb") as raw:
        if archive.name.lower().endswith(".zip"):
            listed = _Directory(raw, most)
            with zipfile.ZipFile(cast(IO[bytes], listed)) as file:
                listed.is_read = True
                yield (_zip_member(file, info) for info in file.infolist())
        else:
            with closing(_tar_members(_Metered(_decompressed(raw)))) as members:
                yield members


class _Directory:
    """A .zip for zipfile, which reads the list of members to memory whole, and makes of each an object ten times as large.

    What it asks for is looked at, not the count that the file states: that may be another.
    """

    def __init__(self, raw: IO[bytes], most: int) -> None:
        self.seek, self.tell, self.seekable = raw.seek, raw.tell, raw.seekable
        self.raw, self.most, self.is_read = raw, most, False

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        if self.is_read:
            return self.raw.read(size)
        most_bytes = ZIP_END_BYTES + self.most * ZIP_ENTRY_BYTES
        if size > most_bytes:
            raise RefusedError(f"its list of members takes {size} bytes; expected at most {most_bytes}")
        if (block := self.raw.read(size if size >= 0 else most_bytes)).count(ZIP_ENTRY) > self.most:
            raise RefusedError(f"it has more than {self.most} members")
        return block


def _zip_member(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = MODE_KINDS.get(info.external_attr >> 16 & FILE_TYPE, "")
    if info.flag_bits & ZIP_ENCRYPTED:
        kind = "encrypted"
    elif not kind and info.compress_type not in ZIP_METHODS:
        kind = f"compressed by method {info.compress_type}, which is not deflate or bzip2"
    return Member(info.orig_filename, info.file_size, info.orig_filename.endswith("/"), kind, lambda: file.open(info))


def _tar_members(stream: "_Metered") -> Generator[Member, None, None]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictHeader, encoding="utf-8") as file:  # type: ignore[call-overload]
        stream.until = HEADER_BYTES
        while (info := file.next()) is not None:
            if info.size < 0:
                raise tarfile.ReadError("a member of negative size")
            stream.until = info.offset_data + info.size + HEADER_BYTES
            yield _tar_member(file, info)
            file.members.clear()
    while stream.read(BLOCK_BYTES):  # to the end, where gzip, bzip2 and xz have their checksums
        pass


def _tar_member(file: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    is_plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and info.sparse is None
    kind = "" if is_plain or info.isdir() else TAR_KINDS.get(info.type, f"of tar's type {info.type!r}, or sparse")
    return Member(info.name, info.size, info.isdir(), kind, lambda: file.extractfile(info))


class _StrictHeader(tarfile.TarInfo):
    """A header whose damage is an error: tarfile takes any but the first damaged header, and a cut, for the archive's end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictHeader":
        """Read a header; only the zeros that end a tar end it."""
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"a damaged header, or no end mark: {error}") from error
        if header.size < 0:
            raise tarfile.ReadError("a header of negative size")
        return header


class _Metered:
    """A stream that is read up to `until` at most: headers of a tar are read to memory, however long they say they are."""

    def __init__(self, source: Readable) -> None:
        self.source, self.done, self.until = source, 0, HEADER_BYTES

    def read(self, size: int) -> bytes:
        """Read on."""
        block = self.source.read(size)
        self.done += len(block)
        if self.done > self.until:
            raise RefusedError(f"more than {HEADER_BYTES} bytes stand between its members, or after them")
        return block


def _decompressed(raw: IO[bytes]) -> Readable:
    first = raw.read(6)
    raw.seek(0)
    if first.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=raw)
    if first.startswith(b"BZh"):
        return bz2.BZ2File(raw)
    return _Xz(raw) if first == b"\xfd7zXZ\0" else raw


class _Xz:
    """An xz file with bounded memory, which lzma.open has not."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source, self.decompressor = source, lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)

    def read(self, size: int) -> bytes:
        """Read on, through all streams that the file holds one after the other."""
        while True:
            data = b""
            if self.decompressor.eof:
                data = (self.decompressor.unused_data or self.source.read(BLOCK_BYTES)).lstrip(
                    b"\0"
                )  # padding between streams
                if not data:
                    return b""
                self.decompressor = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)
            elif self.decompressor.needs_input and not (data := self.source.read(BLOCK_BYTES)):
                raise EOFError("the xz stream is cut off")
            if block := self.decompressor.decompress(data, size):
                return block
