"""A film: the gray values of one mammogram as a viewer would display them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Film:
    """One decoded mammogram.

    Attributes:
        pixels: uint16 [height, width]; 0 is black as displayed (air), 65535 the top of the file's nominal range.
        bits: Bits per pixel stored in the file, 1 to 16.
    """

    pixels: np.ndarray
    bits: int
