"""A film: the gray values of one mammogram as a viewer would display them, and what was remarked while it was read."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

HeaderSide = Literal["", "LEFT", "RIGHT"]


@dataclass(frozen=True)
class Film:
    """One decoded mammogram.

    Attributes:
        pixels: uint16 [height, width]; 0 is black as displayed (air), 65535 the top of the file's nominal range.
        bits: Bits per pixel stored in the file, 1 to 16.
        remarks: Keys of `remarks.REMARKS`.
        laterality: Of the breast, as the header says; "" where it does not.
        for_processing: Whether these are raw detector values (DICOM FOR PROCESSING), which no viewer would show.
    """

    pixels: np.ndarray
    bits: int
    remarks: tuple[str, ...] = ()
    laterality: HeaderSide = ""
    for_processing: bool = False
