"""Defines a decoded mammogram, and the warning keys that reading and preparing add to it."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

HeaderSide = Literal["", "LEFT", "RIGHT"]
# Warnings by key; they are counted, and repeated at the end. The sandboxed decoder sends keys, never text of a file.
REMARKS = {
    "trailing_bytes": "bytes after the last pixel were ignored (PS3.5 8.1.1 allows padding)",
    "polarity": "PresentationLUTShape INVERSE contradicts MONOCHROME2: shown inverted, as the shape says",
    "for_processing": "raw FOR PROCESSING film, accepted by data.raw_films: networks learn from films FOR PRESENTATION",
    "other_modality": "its DICOM Modality is neither MG (mammography) nor CR, DX, RG or OT",
    "colour": "a picture in colour, turned into gray by luminance",
    "one_value": "all pixels have one value: there is no breast to find",
    "breast_small": "the breast that was found covers less of the film than a breast does",
    "breast_large": "the breast that was found covers nearly the whole film, or no background was found",
    "breast_detached": "the breast that was found touches neither the left nor the right edge of the film",
    "breast_two_sides": "the breast that was found reaches from the left to the right edge along most of its height",
    "breast_side": "the breast lies on the other side of the film than on the other films of its laterality",
    "box_tiny": "the box of the lesion has a side below 4 pixels of its film",
    "box_large": "the box of the lesion covers most of its film",
    "box_outside": "part of the lesion's box lies outside its film: is it in pixels of another resolution?",
    "box_off_breast": "the lesion's box lies outside the breast that was found",
    "unfamiliar": "the picture is unlike those that the network learnt from; its score may mean little",
    "mask_gray": "the lesion's mask has values between its two: above the middle counts (antialiased or JPEG)",
}
BREAST_REMARKS = ("one_value", "breast_small", "breast_large", "breast_detached", "breast_two_sides", "breast_side")


@dataclass(frozen=True)
class Film:
    """One decoded mammogram.

    Attributes:
        pixels: uint16 [height, width] as displayed; 0 is black (air), 65535 the top of the file's nominal range.
        bits: Bits per pixel stored in the file, 1 to 16.
        remarks: Warning keys, of `REMARKS`.
        laterality: Of the breast, from the header; "" if unknown.
        for_processing: Whether these are raw detector values (DICOM FOR PROCESSING), which viewers do not show.
    """

    pixels: np.ndarray
    bits: int
    remarks: tuple[str, ...] = ()
    laterality: HeaderSide = ""
    for_processing: bool = False


def in_words(remark: str) -> str:
    """Return the text of a warning key; a key of another version stays as it is."""
    return REMARKS.get(remark, remark)
