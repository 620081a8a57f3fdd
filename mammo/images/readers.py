"""Reads films, masks and series UIDs: trusted files in this process, untrusted ones in the sandboxed decoder."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels, start_of
from mammo.images.dicom import HEADER_FAULTS, read_header
from mammo.images.film import Film

UID = re.compile(r"[0-9.]{1,64}")  # PS3.5 9.1


@dataclass(frozen=True)
class Readers:
    """`decode.read_film`, `decode.read_pixels` and `read_series_uid`, or their sandboxed forms."""

    film: Callable[[Path], Film]
    pixels: Callable[[Path], np.ndarray]
    series_uid: Callable[[Path], str]


def readers(*, untrusted: bool) -> Readers:
    """Choose between reading in this process and in the sandboxed decoder; both return the same pixels.

    Raises:
        ImageError: `untrusted` is set on a system without process limits (Windows).
    """
    if not untrusted:
        return Readers(read_film, read_pixels, read_series_uid)
    try:  # imported here, because it needs POSIX
        from mammo.images.sandbox.decode import read_untrusted_film, read_untrusted_pixels, read_untrusted_series_uid
    except ImportError as error:
        raise ImageError("data.untrusted needs the process limits of Linux or macOS; use one or a container") from error
    return Readers(read_untrusted_film, read_untrusted_pixels, read_untrusted_series_uid)


def read_series_uid(path: Path) -> str:
    """Read the SeriesInstanceUID; "" if the file is not DICOM (PS3.10 7.1) or has no valid one.

    Raises:
        ImageError: It is a damaged DICOM file.
    """
    try:
        if start_of(path)[128:] != b"DICM":
            return ""
        uid = str(read_header(path, ["SeriesInstanceUID"]).get("SeriesInstanceUID", ""))
    except HEADER_FAULTS as error:
        raise ImageError(f"{path}: damaged DICOM header ({type(error).__name__}); fetch the file again") from error
    return uid if UID.fullmatch(uid) else ""
