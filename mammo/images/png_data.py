"""A PNG file enters; refused where its pixel data, whole by every checksum, holds fewer bytes than its header demands."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mammo.errors import ImageError

START_BYTES = 33  # signature, and the header chunk, which comes first (PNG 5.6)
CHUNK_BYTES = 2**20
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type (PNG 11.2.1)
# Adam7 (PNG 8.2): first column, first row, steps across and down of each pass.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def is_interlaced(start: bytes) -> bool:
    """Tell from a PNG's first bytes whether its rows come in seven passes."""
    return start[28] != 0


def check_pixel_data(path: Path, start: bytes) -> None:
    """Unpack pixel data, keeping none of it, and stop where it is enough; a decoder leaves absent rows black.

    Args:
        path: The file.
        start: Its first `START_BYTES`.

    Raises:
        ImageError: It is too short.
        zlib.error: It does not unpack.
        OSError: It cannot be read.
    """
    width, height = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    expected = _unpacked_bytes(width, height, start[24] * CHANNELS[start[25]], interlaced=is_interlaced(start))
    inflater, found = zlib.decompressobj(), 0
    with path.open("rb") as file:
        for packed in _pixel_data(file):
            while packed and not inflater.eof and found < expected:
                found += len(inflater.decompress(packed, CHUNK_BYTES))
                packed = inflater.unconsumed_tail
            if inflater.eof or found >= expected:
                break
    if found < expected:
        raise ImageError(
            f"{path}: its header says {width} × {height} pixels, {expected} bytes unpacked, but its pixel data has {found}; fetch it again"
        )


def _unpacked_bytes(width: int, height: int, bits: int, *, interlaced: bool) -> int:
    """Each row of a pass has a byte for its filter, and is filled up to whole bytes; an empty pass has no rows (PNG 7.2)."""
    total = 0
    for left, top, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _pixel_data(file: BinaryIO) -> Iterator[bytes]:
    """The content of the IDAT chunks, which follow one another (PNG 5.6), in pieces."""
    file.seek(8)
    begun = False
    while len(head := file.read(8)) == 8:
        left = int.from_bytes(head[:4], "big")
        if head[4:] == b"IDAT":
            begun = True
            while left and (piece := file.read(min(left, CHUNK_BYTES))):
                left -= len(piece)
                yield piece
        elif begun:
            return
        file.seek(left + 4, 1)
