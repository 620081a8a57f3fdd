"""Checks the size of an image file against fixed limits before anything is decoded."""

import struct
import zlib
from pathlib import Path

from mammo.errors import ImageError

MAX_FILE_BYTES = 2**30
MAX_SIDE_PX = 30_000
MAX_PIXELS = 400_000_000
# Scanned films compress 1.5 to 10 times, blank ones up to 1,032 times (the limit of deflate). The ratio is checked for
# large images only: 128 MiB, a 16-bit film of 67 million pixels, are harmless on any machine.
HARMLESS_BYTES = 2**27
MAX_RATIO = 200

# What decoders and header parsers raise on damaged bytes, collected from mutated files. RecursionError and
# NotImplementedError are RuntimeErrors, UnicodeDecodeError is a ValueError, Pillow's UnidentifiedImageError an OSError.
DECODER_FAULTS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def check_file_size(path: Path, size_bytes: int) -> None:
    """Raise an ImageError for a file of more than `MAX_FILE_BYTES`, before it is read."""
    if size_bytes > MAX_FILE_BYTES:
        raise ImageError(f"{path}: {size_bytes} bytes, more than the {MAX_FILE_BYTES} that an image may have")


def check_size(path: Path, height: int, width: int) -> None:
    """Raise an ImageError for a side below 1 or above `MAX_SIDE_PX`, or more than `MAX_PIXELS` pixels."""
    if height < 1 or width < 1:
        raise ImageError(f"{path}: its header says {width} × {height} pixels; an image has at least one")
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
        limit = f"{MAX_SIDE_PX} per side and {MAX_PIXELS} in all"
        raise ImageError(f"{path}: its header says {width} × {height} pixels, more than the {limit} that are read")


def check_ratio(path: Path, unpacked_bytes: int, packed_bytes: int) -> None:
    """Raise an ImageError for a decompression bomb: above `HARMLESS_BYTES` and `MAX_RATIO` times its packed size."""
    if unpacked_bytes > HARMLESS_BYTES and unpacked_bytes > MAX_RATIO * packed_bytes:
        grows = f"{packed_bytes} bytes would become {unpacked_bytes}, more than {MAX_RATIO} times as many"
        raise ImageError(f"{path}: {grows}; above {HARMLESS_BYTES} bytes, save it uncompressed or scale it down")
