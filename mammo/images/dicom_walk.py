"""Checks the nesting, lengths and deflated size of a DICOM file before any parser reads it.

Only element headers are read (PS3.5 7.1). The walk ends without an error at bytes that are no element: the parser comes
next and reports that damage.
"""

import io
import re
import zlib
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from mammo.errors import ImageError
from mammo.images.limits import check_ratio

MAX_NESTING = 16  # the standard's own objects nest about 6 deep
MAX_ELEMENTS = 200_000  # a mammogram has some hundred
MAX_INFLATED_BYTES = 2**28
CHUNK_BYTES = 2**20
DEFLATED = "1.2.840.10008.1.2.1.99"
IMPLICIT = "1.2.840.10008.1.2"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
LONGEST_UID, UID, BLANKS = 64, re.compile(r"[0-9.]{1,64}"), b" \0\t\r\n"  # PS3.5 9.1
SYNTAX_TAG, PIXEL_DATA = 0x00020010, 0x7FE00010
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
UNDEFINED = 0xFFFFFFFF
LONG_KINDS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # PS3.5 table 7.1-1: lengths of 32 bits


class _Level(NamedTuple):
    """One level of nesting: elements, items of a sequence or fragments of pixel data; `end` is None if not stated."""

    holds: Literal["elements", "items", "fragments"]
    end: int | None
    implicit: bool


class _Element(NamedTuple):
    """The head of an element; `kind` is empty if it is implicit."""

    tag: int
    kind: bytes
    length: int
    value_at: int


def check_structure(path: Path) -> str:
    """Refuse a DICOM file that would exhaust its parser or contradicts its own length.

    Returns:
        The transfer syntax that the walk found, or "" for none: the parser must find the same.

    Raises:
        ImageError: Sequences nest deeper than `MAX_NESTING`, an element is longer than the rest of the file, there are
            more than `MAX_ELEMENTS`, or deflated content grows past `MAX_INFLATED_BYTES` or by too high a ratio.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        start = 132 if file.read(132)[128:] == b"DICM" else 0
        size = file.seek(0, io.SEEK_END)
        syntax, start = _Walk(path, file, size, big_endian=False).meta(start)
        file.seek(start)
        if syntax == DEFLATED:
            content = _inflated(path, file, size - start)
            _Walk(path, io.BytesIO(content), len(content), big_endian=False).elements(0, implicit=False)
            return syntax
        implicit, big_endian = syntax == IMPLICIT, syntax == BIG_ENDIAN
        if not syntax:  # the first element shows both: its group number is small
            first = file.read(6)
            implicit, big_endian = not first[4:6].isalpha(), first[:1] == b"\0"
        _Walk(path, file, size, big_endian=big_endian).elements(start, implicit=implicit)
        return syntax


def _inflated(path: Path, file: BinaryIO, packed_bytes: int) -> bytes:
    """Inflate a deflated data set (PS3.5 A.5) in steps, so that half a megabyte cannot become 600."""
    inflater, parts, total = zlib.decompressobj(-zlib.MAX_WBITS), [], 0
    try:
        while not inflater.eof and (packed := inflater.unconsumed_tail or file.read(CHUNK_BYTES)):
            parts.append(inflater.decompress(packed, CHUNK_BYTES))
            total += len(parts[-1])
            if total > MAX_INFLATED_BYTES:
                raise ImageError(f"{path}: its deflated content grows past {MAX_INFLATED_BYTES} bytes; leave it out")
            check_ratio(path, total, packed_bytes)
    except zlib.error as error:
        raise ImageError(f"{path}: damaged DICOM file: its content does not inflate; fetch it again") from error
    return b"".join(parts)


class _Walk:
    """A walk through one stream of elements."""

    def __init__(self, path: Path, file: BinaryIO, size: int, *, big_endian: bool) -> None:
        self._path, self._file, self._size = path, file, size
        self._order: Literal["big", "little"] = "big" if big_endian else "little"

    def meta(self, position: int) -> tuple[str, int]:
        """Read group 2, which is always explicit and little-endian: (transfer syntax or "", start of the data set)."""
        syntax = ""
        while (element := self._element(position, implicit=False)) and element.tag >> 16 == 2:
            end = self._end_of(element)
            if end is None:
                break
            if element.tag == SYNTAX_TAG:
                self._file.seek(element.value_at)
                syntax = self._file.read(min(element.length, LONGEST_UID + 1)).strip(BLANKS).decode("ascii", "replace")
                if not UID.fullmatch(syntax):
                    raise self._error("its transfer syntax is no UID; it is damaged or malicious: leave it out")
            position = end
        return syntax, position

    def elements(self, position: int, *, implicit: bool) -> None:
        """Walk to the end, or to bytes that are no element."""
        levels = [_Level("elements", None, implicit)]
        for _ in range(MAX_ELEMENTS):
            while len(levels) > 1 and levels[-1].end is not None and position >= levels[-1].end:
                levels.pop()
            step = self._within_elements if levels[-1].holds == "elements" else self._between_items
            following = step(position, levels)
            if following is None:
                return
            position = following
            if sum(level.holds == "items" for level in levels) > MAX_NESTING:
                raise self._error(f"damaged DICOM file: sequences nested more than {MAX_NESTING} deep; fetch it again")
        raise self._error(f"damaged DICOM file: more than {MAX_ELEMENTS} elements; fetch it again")

    def _within_elements(self, position: int, levels: list[_Level]) -> int | None:
        element = self._element(position, implicit=levels[-1].implicit)
        if element is None:
            return None
        if element.tag == ITEM_END:
            levels.pop()
            return element.value_at if levels else None
        end = self._end_of(element)
        implicit = element.kind in (b"", b"UN")  # PS3.5 6.2.2: the content of a UN of undefined length is implicit
        if element.kind == b"SQ" or (end is None and element.tag != PIXEL_DATA and implicit):
            levels.append(_Level("items", end, implicit))
            return element.value_at
        if end is None:
            levels.append(_Level("fragments", None, True))
            return element.value_at
        return end

    def _between_items(self, position: int, levels: list[_Level]) -> int | None:
        element = self._element(position, implicit=True)
        if element is None or element.tag not in (ITEM, SEQUENCE_END):
            return None
        if element.tag == SEQUENCE_END:
            levels.pop()
            return element.value_at
        end = self._end_of(element)
        if levels[-1].holds == "fragments":
            return end
        levels.append(_Level("elements", end, levels[-1].implicit))
        return element.value_at

    def _element(self, position: int, *, implicit: bool) -> _Element | None:
        self._file.seek(position)
        head = self._file.read(12)
        tag = int.from_bytes(head[0:2], self._order) << 16 | int.from_bytes(head[2:4], self._order)
        kind = head[4:6]
        if implicit or tag >> 16 == 0xFFFE or not (kind.isalpha() and kind.isupper()):
            kind, start, end = b"", 4, 8
        else:
            start, end = (8, 12) if kind in LONG_KINDS else (6, 8)
        if len(head) < end:
            return None
        return _Element(tag, kind, int.from_bytes(head[start:end], self._order), position + end)

    def _end_of(self, element: _Element) -> int | None:
        """Find where an element's value ends; None for an undefined length."""
        if element.length == UNDEFINED:
            return None
        end = element.value_at + element.length
        if end > self._size:
            problem = "an element says it has more bytes than the file"
            raise self._error(f"damaged or cut-short DICOM file: {problem}; fetch it again")
        return end

    def _error(self, text: str) -> ImageError:
        return ImageError(f"{self._path}: {text}")
