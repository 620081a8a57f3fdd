"""A file enters; the UID of the DICOM series that it says it belongs to leaves."""

import re
from pathlib import Path

from pydicom import dcmread

from mammo.errors import ImageError
from mammo.images.decode import start_of
from mammo.images.dicom import HEADER_FAULTS, silence_readers
from mammo.images.dicom_walk import check_structure

UID = re.compile(r"[0-9.]{1,64}")  # PS3.5 9.1


def read_series_uid(path: Path) -> str:
    """Read the SeriesInstanceUID; '' where the file is no DICOM file (PS3.10 7.1) or names no series.

    Raises:
        ImageError: It is a DICOM file, and damaged.
    """
    silence_readers()
    try:
        if start_of(path)[128:] != b"DICM":
            return ""
        check_structure(path)
        uid = str(
            dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"]).get("SeriesInstanceUID", "")
        )
    except HEADER_FAULTS as error:
        raise ImageError(f"{path}: damaged DICOM header ({type(error).__name__}); fetch the file again") from error
    return uid if UID.fullmatch(uid) else ""
