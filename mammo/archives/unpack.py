"""Unpacks an archive (a zip, or a tar, also compressed) to a folder of its plain files, and refuses everything else.

zipfile and tarfile do the reading. What they lack for archives that may be hostile is added below: bounds of memory
(`_ZipFile`, `_TarStream`, `_xz_blocks`), and an error for a tar that is cut or damaged (`_StrictHeader`).
"""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import re
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from mammo.errors import DataMissingError, MammoError
from mammo.files import flush_folder, locked
from mammo.progress import track

ZIP_ENDINGS = (".zip", ".whl")
ENDINGS = (*ZIP_ENDINGS, ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
BLOCK_BYTES = 1 << 20
SPARE_DISK_BYTES = 64 << 20
HEADER_BYTES = 4 << 20  # between the members of a tar: long names, padding
XZ_MEMORY_BYTES = 256 << 20  # xz -9 needs 65 MiB; a file may ask for 4 GiB
ZIP_ENCRYPTED = 0x1 | 0x40 | 0x2000  # APPNOTE.TXT 4.4.4: bits 0, 6 and 13
ZIP_ENTRY = b"PK\1\2"  # APPNOTE.TXT 4.3.12: what each member in the list begins with
ZIP_ENTRY_BYTES = 512  # on average; with a name as long as CBIS-DDSM's longest it has 350
ZIP_END_BYTES = 128 << 10  # what zipfile reads to find the list: the last 64 KiB and a little
LONGEST_NAME, LONGEST_PART_BYTES = 1000, 255
UNSAFE_NAME = re.compile(r"^/|\\|(^|/)[A-Za-z]:|[\0-\x1f\x7f]")
SPECIAL = "a link, a device or another special file"
DAMAGED = (
    zipfile.BadZipFile, zipfile.LargeZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError,
    ValueError, LookupError, TypeError, AttributeError, OverflowError, RuntimeError, MemoryError,
)  # fmt: skip


class RefusedError(Exception):
    """Why an archive is refused; the message lacks only the archive's name."""


@dataclass(frozen=True)
class Limits:
    """What an archive may contain. CBIS-DDSM as JPEG, one zip of 10,000 files and 6 GB, is far below all of it.

    `most_ratio` is that of all unpacked bytes to the archive's, past `ratio_from_bytes`: films hardly shrink, a mask
    does a hundredfold and more.
    """

    most_members: int = 100_000
    most_bytes_each: int = 16 << 30
    most_bytes: int = 256 << 30
    most_ratio: int = 100
    ratio_from_bytes: int = 256 << 20


LIMITS = Limits()


@dataclass(frozen=True)
class Member:
    """A member as the archive describes it.

    Attributes:
        kind: What it is where it is neither a plain file nor a folder; else empty.
        open: Opens its content, until the next member is asked for.
    """

    name: str
    size: int
    is_folder: bool
    kind: str
    open: Callable[[], Any]

    def __str__(self) -> str:
        return f"member {self.name[:120]!a}"


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.name.lower().endswith(ENDINGS)


def visible(folder: Path) -> list[Path]:
    """List a folder without hidden entries and what macOS adds to archives."""
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX")


def data_root(root: Path, store_folder: Path) -> Path:
    """Return the folder of a data set that may be an archive; it is unpacked once, to `archives` below the store."""
    return unpacked(root, store_folder / "archives") if is_archive(root) and root.is_file() else root


def unpacked(archive: Path, below: Path, *, error: type[MammoError] = DataMissingError) -> Path:
    """Unpack an archive to a folder named by its content below another.

    Returns:
        `below/<SHA-256>`, or the one folder in it that contains everything.
    """
    try:
        digest = _content_hash(archive, below)
    except OSError as why:
        raise error(f"{archive}: cannot be read ({why.strerror or why})") from why
    folder = unpack(archive, below / digest, error=error)
    while len(entries := visible(folder)) == 1 and entries[0].is_dir():
        folder = entries[0]
    return folder


def unpack(archive: Path, into: Path, *, limits: Limits = LIMITS, error: type[MammoError] = DataMissingError) -> Path:
    """Unpack an archive once; later calls find the folder there.

    All members are checked before the first is written, and again as they are. Files get this user's rights and the
    time of unpacking; archives within stay files. The folder appears whole or not at all. If another process unpacks
    it, its end is waited for.

    Args:
        archive: Its name has one of `ENDINGS`.
        into: The folder, which is missing or has this archive's files already: name it by content.
        limits: How much it may contain.
        error: What is raised.

    Raises:
        MammoError: `error`: it is missing, damaged, contains what is refused (absolute names, `..`, drive letters,
            backslashes, links, devices, encrypted members, two members of one name, more than the limits), or the disk
            is full.
    """
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with locked(into.with_name(f".{into.name}.lock"), doing=f"{into}: {archive.name} is being unpacked", wait=True):
            if not into.is_dir():
                _unpack_beside(archive, into, limits)
    except RefusedError as why:
        raise error(f"{archive}: refused: {why}; nothing was unpacked") from None
    except (OSError, *DAMAGED) as why:
        if isinstance(why, OSError) and why.errno is not None:  # gzip and bz2 raise it without a number for damage
            advice = "check that it is there, and free space and rights"
            raise error(f"{archive}: cannot be unpacked to {into} ({why.strerror}); {advice}") from why
        words = " ".join(str(why).split())[:200] or type(why).__name__
        raise error(f"{archive}: is damaged, cut off or no such archive ({words}); fetch it again") from why
    return into


def _content_hash(archive: Path, below: Path) -> str:
    """Compute the archive's SHA-256, which is remembered by its path, inode, size and times of change."""
    status = archive.stat()
    known_by = (str(archive.resolve()), status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    stamp = hashlib.sha256(repr(known_by).encode(errors="surrogateescape")).hexdigest()
    remembered = below / f".{stamp[:32]}.sha256"
    with suppress(OSError, UnicodeDecodeError):
        if re.fullmatch("[0-9a-f]{64}", text := remembered.read_text(encoding="utf-8")):
            return text
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        blocks = iter(lambda: file.read(BLOCK_BYTES), b"")
        for block in track(blocks, -(-status.st_size // BLOCK_BYTES), f"reading {archive.name} (MiB)"):
            digest.update(block)
    below.mkdir(parents=True, exist_ok=True)
    remembered.write_text(digest.hexdigest(), encoding="utf-8")
    return digest.hexdigest()


def _unpack_beside(archive: Path, into: Path, limits: Limits) -> None:
    unfinished = into.with_name(f".{into.name}.partial")  # one name for all: the lock is held
    shutil.rmtree(unfinished, ignore_errors=True)
    sizes = [member.size for member, _ in _checked_members(archive, limits) if not member.is_folder]
    if not sizes:
        raise RefusedError("it holds no file")
    free = shutil.disk_usage(into.parent).free
    if sum(sizes) + SPARE_DISK_BYTES > free:
        raise RefusedError(f"its files take {sum(sizes)} bytes, and {into.parent} has {free} free; free space")
    try:
        unfinished.mkdir()
        steps = _write(archive, unfinished, limits)
        for _ in track(steps, sum(sizes) // BLOCK_BYTES, f"unpacking {archive.name} (MiB)"):
            pass
        if hasattr(os, "sync"):
            os.sync()  # once, instead of once per file: there may be ten thousand
        unfinished.rename(into)
        flush_folder(into.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(archive: Path, unfinished: Path, limits: Limits) -> Iterator[None]:
    """Write the files, a step per block. Members are checked again: the archive may be another by now."""
    for member, parts in _checked_members(archive, limits):
        target = unfinished.joinpath(*parts)
        if member.is_folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        done = 0
        with member.open() as source, target.open("xb") as file:
            while done <= member.size and (block := source.read(BLOCK_BYTES)):
                file.write(block)
                done += len(block)
                yield
        if done != member.size:
            raise RefusedError(f"{member} has another size than the archive says, {member.size} bytes")


def _checked_members(archive: Path, limits: Limits) -> Iterator[tuple[Member, tuple[str, ...]]]:
    """Yield each member with the parts of its path below the folder; raise at the first that is not allowed."""
    total, archive_bytes = 0, archive.stat().st_size
    taken: dict[str, bool] = {}  # the names so far, and whether each is a folder
    for number, member in enumerate(members_of(archive, limits.most_members)):
        if number == limits.most_members:
            raise RefusedError(f"it has more than {limits.most_members} members")
        parts = _safe_parts(member)
        if member.kind:
            raise RefusedError(f"{member} is {member.kind}; only plain files and folders are unpacked")
        for depth in range(1, len(parts) + 1):
            # Some disks take such names for the same.
            alike = unicodedata.normalize("NFC", "/".join(parts[:depth]).casefold())
            is_folder = member.is_folder or depth < len(parts)
            if alike in taken and not (taken[alike] and is_folder):
                raise RefusedError(f"{member} has the name, or the place, of another before it")
            taken[alike] = is_folder
        if not member.is_folder:
            total += member.size
            _check_size(member, total, archive_bytes, limits)
        yield member, parts


def _check_size(member: Member, total: int, archive_bytes: int, limits: Limits) -> None:
    if not 0 <= member.size <= limits.most_bytes_each:
        raise RefusedError(f"{member} takes {member.size} bytes, more than {limits.most_bytes_each}")
    if total > limits.most_bytes:
        raise RefusedError(f"its files take more than {limits.most_bytes} bytes")
    if total > max(limits.ratio_from_bytes, limits.most_ratio * archive_bytes):
        times = f"{limits.most_ratio} times its own {archive_bytes} bytes"
        raise RefusedError(f"its files take more than {times} (a decompression bomb)")


def _safe_parts(member: Member) -> tuple[str, ...]:
    """Return the parts of a member's name, if all stay below the folder on every system."""
    if UNSAFE_NAME.search(member.name):
        raise RefusedError(f"{member} has an absolute name, a drive letter, a backslash or a control character in it")
    parts = tuple(part for part in member.name.split("/") if part not in ("", "."))
    if any(not part.strip(". ") for part in parts) or not (parts or member.is_folder):
        raise RefusedError(f"{member} has a name that leads out of its folder, or none")
    try:
        too_long = any(len(os.fsencode(part)) > LONGEST_PART_BYTES for part in parts)
    except UnicodeEncodeError:
        raise RefusedError(f"{member} has a name that this system's encoding lacks; use a UTF-8 locale") from None
    if too_long or len(member.name) > LONGEST_NAME:
        raise RefusedError(f"{member} has a name longer than files may have")
    return parts


def members_of(archive: Path, most: int) -> Iterator[Member]:
    """Go through the members of an archive, a zip or a tar by its name; nothing they say is checked.

    All errors of `DAMAGED`, and OSError without a number, mean an archive that is damaged.

    Args:
        archive: The file.
        most: How many members are too many to look at: a .zip lists them in one piece.

    Raises:
        RefusedError: It lists more, or needs too much memory.
    """
    if archive.name.lower().endswith(ZIP_ENDINGS):
        with _ZipFile(archive, most) as raw, zipfile.ZipFile(raw) as file:
            for info in file.infolist():
                name = info.orig_filename
                yield Member(name, info.file_size, name.endswith("/"), _zip_kind(info), partial(file.open, info))
    else:
        with archive.open("rb") as compressed:
            yield from _tar_members(_TarStream(_decompressed(compressed)))


class _ZipFile(io.FileIO):
    """A .zip whose list of members is bounded: zipfile reads it whole and makes objects ten times as large of it.

    What zipfile reads is examined, not the number that the archive states.
    """

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path)
        self.most, self.most_bytes = most, ZIP_END_BYTES + most * ZIP_ENTRY_BYTES

    def read(self, size: int | None = -1) -> bytes:
        """Read on."""
        size = self.most_bytes if size is None or size < 0 else size
        if size > self.most_bytes:
            raise RefusedError(f"its list of members takes {size} bytes; expected at most {self.most_bytes}")
        block = super().read(size) or b""
        if block.count(ZIP_ENTRY) > self.most:
            raise RefusedError(f"it has more than {self.most} members")
        return block


def _zip_kind(info: zipfile.ZipInfo) -> str:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):  # a mode of Unix, if any
        return SPECIAL
    if info.flag_bits & ZIP_ENCRYPTED:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
        return f"compressed by method {info.compress_type}, which is not deflate or bzip2"
    return ""


class _TarStream:
    """A stream that is read up to `until` at most: tarfile reads a header to memory, whatever length it states."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self.blocks, self.done, self.until = blocks, 0, HEADER_BYTES

    def read(self, _: int = 0) -> bytes:
        """Read on, a block of any size, as is enough for tarfile's streams."""
        block = next(self.blocks, b"")
        self.done += len(block)
        if self.done > self.until:
            raise RefusedError(f"more than {HEADER_BYTES} bytes stand between its members, or after them")
        return block


def _tar_members(stream: _TarStream) -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictHeader, encoding="utf-8") as file:  # type: ignore[call-overload]
        while (info := file.next()) is not None:
            stream.until = info.offset_data + info.size + HEADER_BYTES
            is_plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and info.sparse is None
            kind = "" if is_plain or info.isdir() else SPECIAL
            yield Member(info.name, info.size, info.isdir(), kind, partial(file.extractfile, info))
            file.members.clear()
    while stream.read():  # to the end, where gzip, bzip2 and xz have their checksums
        pass


class _StrictHeader(tarfile.TarInfo):
    """A header whose damage is an error.

    tarfile takes a cut, and any damaged header but the first, for the archive's end: it reads a shorter archive.
    """

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


def _decompressed(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file's bytes in short blocks, decompressed where it is a gzip, bzip2 or xz file."""
    first = file.read(6)
    file.seek(0)
    if first == b"\xfd7zXZ\0":
        return _xz_blocks(file)
    plain: Any = file
    if first.startswith(b"\x1f\x8b"):
        plain = gzip.GzipFile(fileobj=file)
    elif first.startswith(b"BZh"):
        plain = bz2.BZ2File(file)
    return iter(partial(plain.read, tarfile.RECORDSIZE), b"")


def _xz_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Decompress the streams of an xz file, one after the other, with bounded memory, unlike lzma.open."""
    data = file.read(BLOCK_BYTES)
    while data:
        decompressor = lzma.LZMADecompressor(memlimit=XZ_MEMORY_BYTES)
        while not decompressor.eof:
            if decompressor.needs_input and not data:
                data = file.read(BLOCK_BYTES)
                if not data:
                    raise EOFError("the xz stream is cut off")
            if block := decompressor.decompress(data, tarfile.RECORDSIZE):
                yield block
            data = b""
        data = (decompressor.unused_data or file.read(BLOCK_BYTES)).lstrip(b"\0")  # padding
