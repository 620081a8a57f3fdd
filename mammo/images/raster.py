"""Reads a PNG, JPEG, TIFF or PGM file and returns its gray values in displayed orientation."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from mammo.errors import ImageError
from mammo.images.guards import DECODER_FAULTS, check_ratio, check_size
from mammo.images.png_data import START_BYTES, check_pixel_data, is_interlaced

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGIC = (b"II*\0", b"MM\0*")
RASTER_MAGIC = (PNG_MAGIC, b"\xff\xd8\xff", b"P5", b"P2", *TIFF_MAGIC)
GRAY_MODES = {"1": 8, "L": 8, "I;16": 16, "I;16B": 16, "I": 16}
# TIFF 6.0's tags: bits of a sample, what 0 means (0 white, 1 black), how samples are to be read (1: unsigned numbers).
BITS_PER_SAMPLE, PHOTOMETRIC, STRIP_OFFSETS, ROWS_PER_STRIP, SAMPLE_FORMAT = 258, 262, 273, 278, 339
COLOUR = 24  # of 255: channels of a gray picture that went through JPEG differ by less (measured: at most 8)
COLOUR_SHARE = 0.01
WIDE_MODES = {"I;16": 2, "I;16B": 2, "I": 4, "F": 4}  # bytes of a band in memory; all others take one


@dataclass(frozen=True)
class Raster:
    """A decoded picture: `pixels` uint8 or uint16 [height, width], of which `bits` are used; `remarks` of `remarks.REMARKS`."""

    pixels: np.ndarray
    bits: int
    remarks: tuple[str, ...] = ()


def read_raster(path: Path) -> Raster:
    """Decode a PNG, JPEG, TIFF or PGM file.

    Colour is turned into gray by luminance (ITU-R BT.601: equal channels stay as they are) and remarked; an alpha channel is
    dropped where it is opaque and refused elsewhere. A PGM's own maximum counts as white. A TIFF in which 0 is white is inverted.

    Raises:
        ImageError: The file is damaged, too large, animated, or of a colour form without a clear gray value.
    """
    start = _start_of_png(path)
    warnings.filterwarnings("ignore", module="PIL")  # remarks about odd EXIF data; for the process: safe with threads
    try:
        with Image.open(path, formats=("PNG", "JPEG", "PPM", "TIFF")) as image:
            check_size(path, image.height, image.width)
            bytes_each = len(image.getbands()) * WIDE_MODES.get(image.mode, 1)
            check_ratio(path, image.height * image.width * bytes_each, path.stat().st_size)
            if getattr(image, "n_frames", 1) != 1:
                raise ImageError(
                    f"{path}: expected one picture, got an animation or several; save the one that is meant"
                )
            if start:
                _check_rows(path, image, start)
            if image.format == "TIFF":
                return _tiff_values(path, image)
            return _gray_values(path, ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path}: more pixels than Pillow decodes; scale it down") from error
    except DECODER_FAULTS as error:
        raise ImageError(
            f"{path}: damaged or cut short ({type(error).__name__} while decoding); fetch it again"
        ) from error


def _tiff_values(path: Path, image: Image.Image) -> Raster:
    """A TIFF's gray values. Pillow inverts pictures of 8 bits in which 0 is white, and leaves those of 16."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, form = tuple(tags.get(BITS_PER_SAMPLE, (1,))), tuple(tags.get(SAMPLE_FORMAT, (1,)))
    if set(form) != {1} or (len(bits) == 1 and bits[0] not in (1, 8, 12, 16)) or (len(bits) > 1 and set(bits) != {8}):
        raise ImageError(
            f"{path}: expected a TIFF of 8 to 16 unsigned bits per gray pixel, or 8 per colour, got another; save it as such"
        )
    if PHOTOMETRIC not in tags:
        raise ImageError(
            f"{path}: its PhotometricInterpretation (tag 262) is missing, so that black may be white; save it again"
        )
    if STRIP_OFFSETS in tags:
        strips, each = len(tags[STRIP_OFFSETS]), int(tags.get(ROWS_PER_STRIP, image.height))
        if strips * max(1, min(each, image.height)) < image.height:
            raise ImageError(
                f"{path}: damaged or cut short: {strips} strips of {each} rows for {image.height} rows; fetch it again"
            )
    raster = _gray_values(path, ImageOps.exif_transpose(image))
    if len(bits) == 1 and bits[0] > 8:
        top = 2 ** bits[0] - 1
        pixels = top - np.minimum(raster.pixels, top) if tags.get(PHOTOMETRIC) == 0 else raster.pixels
        return Raster(np.ascontiguousarray(pixels, dtype=np.uint16), bits[0], raster.remarks)
    return raster


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
    """Read a PNG's signature and header, b"" for another file.

    Pillow would cut 16-bit colour to 8 bits without a word (IHDR: depth at byte 24, colour type at 25).
    """
    with path.open("rb") as file:
        start = file.read(START_BYTES)
    if not start.startswith(PNG_MAGIC):
        return b""
    if len(start) < START_BYTES or start[12:16] != b"IHDR":
        raise ImageError(f"{path}: damaged or cut short (no PNG header where it belongs); fetch it again")
    if start[24] == 16 and start[25] != 0:
        raise ImageError(f"{path}: expected gray pixels, got a PNG of 16-bit colour or alpha; save it as 16-bit gray")
    return start


def _check_rows(path: Path, image: Image.Image, start: bytes) -> None:
    """Look for rows that are not there: Pillow leaves them black. A row that is not black came, and so did those before it.

    Where the last row is black, or comes before others do, the pixel data is unpacked once more: 5000 × 4000 pixels of 16
    bits take 1.4 times as long then.
    """
    if (image.width, image.height) != (int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")):
        raise ImageError(f"{path}: damaged: it has several headers, of several sizes; fetch it again")
    last = image.crop((0, image.height - 1, image.width, image.height)).tobytes()
    if is_interlaced(start) or not any(last):
        check_pixel_data(path, start)
