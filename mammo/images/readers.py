"""Trusted or not goes in; the functions that read a film, a mask and a series' UID leave, the same pixels from either."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels
from mammo.images.film import Film
from mammo.images.series import read_series_uid


@dataclass(frozen=True)
class Readers:
    """How files are read: `film` as `decode.read_film`, `pixels` as `decode.read_pixels`, `series_uid` as `series.read_series_uid`."""

    film: Callable[[Path], Film]
    pixels: Callable[[Path], np.ndarray]
    series_uid: Callable[[Path], str]


def readers(*, untrusted: bool) -> Readers:
    """Choose between reading in this process, and through the guarded door.

    Raises:
        ImageError: The system has no limits for processes (Windows), and `untrusted` is asked for.
    """
    if not untrusted:
        return Readers(read_film, read_pixels, read_series_uid)
    try:  # here and not above: the door stands on POSIX
        from mammo.images.sandbox.decode import read_untrusted_film, read_untrusted_pixels, read_untrusted_series_uid
    except ImportError as error:
        raise ImageError(
            "data.untrusted needs the process limits of Linux or macOS; run it there, or in a container"
        ) from error
    return Readers(read_untrusted_film, read_untrusted_pixels, read_untrusted_series_uid)
