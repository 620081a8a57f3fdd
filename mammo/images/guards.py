"""Limits that every image must keep, checked on its header before anything is decoded."""

import struct
import zlib
from pathlib import Path

from mammo.errors import ImageError

MAX_SIDE_PX = 30_000
MAX_PIXELS = 400_000_000

# What decoders and header parsers raise on damaged bytes, collected from mutated files; RecursionError and
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


def check_size(path: Path, height: int, width: int) -> None:
    """Refuse an image that has no pixels or would fill the memory.

    Raises:
        ImageError: A side below 1 or above `MAX_SIDE_PX`, or more than `MAX_PIXELS` pixels.
    """
    if height < 1 or width < 1:
        raise ImageError(f"{path}: its header says {width} × {height} pixels; an image has at least one")
    if max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
        limit = f"{MAX_SIDE_PX} per side and {MAX_PIXELS} in all"
        raise ImageError(f"{path}: its header says {width} × {height} pixels, more than the {limit} that are read")
