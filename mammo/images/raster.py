"""Reads a PNG, JPEG, TIFF or PGM file and returns its gray values in displayed orientation."""

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps

from mammo.errors import ImageError
from mammo.images.limits import DECODER_FAULTS, check_ratio, check_size

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGIC = (b"II*\0", b"MM\0*")
RASTER_MAGIC = (PNG_MAGIC, b"\xff\xd8\xff", b"P5", b"P2", *TIFF_MAGIC)
GRAY_MODES = {"1": 8, "L": 8, "I;16": 16, "I;16B": 16, "I": 16}
WIDE_MODES = {"I;16": 2, "I;16B": 2, "I": 4, "F": 4}  # bytes of a band in memory; all other modes take one
# Tags of TIFF 6.0: bits of a sample, meaning of 0 (0 white, 1 black), number format of samples (1: unsigned).
BITS_PER_SAMPLE, PHOTOMETRIC, STRIP_OFFSETS, ROWS_PER_STRIP, SAMPLE_FORMAT = 258, 262, 273, 278, 339
COLOUR = 24  # of 255: channels of a gray picture differ by less after JPEG (measured: at most 8)
COLOUR_SHARE = 0.01
PNG_START_BYTES = 33  # signature, and the header chunk, which comes first (PNG 5.6)
CHUNK_BYTES = 2**20
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type (PNG 11.2.1)
# Adam7 (PNG 8.2): first column, first row, steps across and down of each pass.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


@dataclass(frozen=True)
class Raster:
    """A decoded picture: uint8 or uint16 [height, width] below 2^`bits`, 0 is black; `remarks` are warning keys."""

    pixels: np.ndarray
    bits: int
    remarks: tuple[str, ...] = ()


def read_raster(path: Path) -> Raster:
    """Decode a PNG, JPEG, TIFF or PGM file.

    Colour becomes gray by luminance (ITU-R BT.601: equal channels stay as they are), with a warning. An opaque alpha
    channel is dropped, any other refused. A PGM's own maximum is white. A TIFF in which 0 is white is inverted.

    Raises:
        ImageError: The file is damaged, too large, animated, or of a colour mode without a clear gray value.
    """
    start = _start_of_png(path)
    warnings.filterwarnings("ignore", module="PIL")  # about odd EXIF data; for the process, so that threads agree
    try:
        with Image.open(path, formats=("PNG", "JPEG", "PPM", "TIFF")) as image:
            check_size(path, image.height, image.width)
            bytes_each = len(image.getbands()) * WIDE_MODES.get(image.mode, 1)
            check_ratio(path, image.height * image.width * bytes_each, path.stat().st_size)
            if getattr(image, "n_frames", 1) != 1:
                raise ImageError(f"{path}: expected one picture, got an animation or several; save the right one alone")
            if start:
                _check_rows(path, image, start)
            if image.format == "TIFF":
                return _tiff_values(path, image)
            return _gray_values(path, ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: more pixels than Pillow decodes; scale it down") from error
    except DECODER_FAULTS as error:
        kind = type(error).__name__
        raise ImageError(f"{path}: damaged or cut short ({kind} while decoding); fetch it again") from error


def _tiff_values(path: Path, image: Image.Image) -> Raster:
    """Return a TIFF's gray values. If 0 is white, Pillow inverts pictures of 8 bits, but not those of 16."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, form = tuple(tags.get(BITS_PER_SAMPLE, (1,))), tuple(tags.get(SAMPLE_FORMAT, (1,)))
    gray = len(bits) == 1
    if set(form) != {1} or (gray and bits[0] not in (1, 8, 12, 16)) or (len(bits) > 1 and set(bits) != {8}):
        expected = "8 to 16 unsigned bits per gray pixel, or 8 per colour"
        raise ImageError(f"{path}: expected a TIFF of {expected}, got another; convert it")
    if PHOTOMETRIC not in tags:
        raise ImageError(f"{path}: its PhotometricInterpretation (tag 262) is missing: 0 may be white; save it again")
    if STRIP_OFFSETS in tags:
        strips, each = len(tags[STRIP_OFFSETS]), int(tags.get(ROWS_PER_STRIP, image.height))
        if strips * max(1, min(each, image.height)) < image.height:
            found = f"{strips} strips of {each} rows for {image.height} rows"
            raise ImageError(f"{path}: damaged or cut short: {found}; fetch it again")
    raster = _gray_values(path, ImageOps.exif_transpose(image))
    if not gray or bits[0] <= 8:
        return raster
    top = 2 ** bits[0] - 1
    pixels = top - np.minimum(raster.pixels, top) if tags.get(PHOTOMETRIC) == 0 else raster.pixels
    return Raster(np.ascontiguousarray(pixels, dtype=np.uint16), bits[0], raster.remarks)


def _is_coloured(image: Image.Image) -> bool:
    small = np.asarray(image.reduce(max(1, max(image.size) // 512)), dtype=np.int16)
    return float(np.mean(np.ptp(small, axis=2) > COLOUR)) > COLOUR_SHARE


def _gray_values(path: Path, image: Image.Image) -> Raster:
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("LA", "RGBA"):
        if image.getchannel("A").getextrema()[0] != 255:
            raise ImageError(f"{path}: expected an opaque image, got a transparent one; flatten it")
        image = image.convert(image.mode[:-1])
    remarks = ("colour",) if image.mode == "RGB" and _is_coloured(image) else ()
    if image.mode == "RGB":
        image = image.convert("L")
    if image.mode not in GRAY_MODES:
        raise ImageError(f"{path}: expected gray or RGB pixels, got colour mode {image.mode}; save it as gray")
    bits = GRAY_MODES[image.mode]
    pixels = np.asarray(image.convert("L") if image.mode == "1" else image)
    return Raster(np.ascontiguousarray(pixels, dtype=np.uint8 if bits == 8 else np.uint16), bits, remarks)


def _start_of_png(path: Path) -> bytes:
    """Read a PNG's signature and header; b"" for another file.

    Pillow would cut 16-bit colour to 8 bits silently (IHDR: depth at byte 24, colour type at 25).
    """
    with path.open("rb") as file:
        start = file.read(PNG_START_BYTES)
    if not start.startswith(PNG_MAGIC):
        return b""
    if len(start) < PNG_START_BYTES or start[12:16] != b"IHDR":
        raise ImageError(f"{path}: damaged or cut short (no PNG header where it belongs); fetch it again")
    if start[24] == 16 and start[25] != 0:
        raise ImageError(f"{path}: expected gray pixels, got a PNG of 16-bit colour or alpha; save it as 16-bit gray")
    return start


def _check_rows(path: Path, image: Image.Image, start: bytes) -> None:
    """Check that no row of a PNG is missing: Pillow leaves missing rows black.

    If the last row is not black, all rows are there. Otherwise, and in an interlaced file, the pixel data is unpacked
    once more: a film of 5000 × 4000 pixels of 16 bits then takes 1.4 times as long.

    Raises:
        ImageError: Rows are missing, or there are several headers.
    """
    width, height = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    if (image.width, image.height) != (width, height):
        raise ImageError(f"{path}: damaged: it has several headers, of several sizes; fetch it again")
    last = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
    interlaced = start[28] != 0
    if any(last) and not interlaced:
        return
    expected = _unpacked_bytes(width, height, start[24] * CHANNELS[start[25]], interlaced=interlaced)
    found = _count_pixel_data(path, expected)
    if found < expected:
        size = f"{width} × {height} pixels, {expected} bytes unpacked"
        raise ImageError(f"{path}: its header says {size}, but its pixel data has {found}; fetch it again")


def _unpacked_bytes(width: int, height: int, bits: int, *, interlaced: bool) -> int:
    """Count a PNG's bytes (PNG 7.2): a row of a pass has a filter byte and whole bytes; an empty pass has no rows."""
    total = 0
    for left, top, across, down in PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns > 0 and rows > 0 else 0
    return total


def _count_pixel_data(path: Path, enough: int) -> int:
    """Unpack a PNG's pixel data without keeping it, up to `enough` bytes, and count them."""
    inflater, found = zlib.decompressobj(), 0
    with path.open("rb") as file:
        for packed in _pixel_data(file):
            while packed and not inflater.eof and found < enough:
                found += len(inflater.decompress(packed, CHUNK_BYTES))
                packed = inflater.unconsumed_tail
            if inflater.eof or found >= enough:
                break
    return found


def _pixel_data(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of the IDAT chunks, which follow one another (PNG 5.6), in pieces."""
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
