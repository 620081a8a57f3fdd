"""Checks the breast found on a film, a lesion's box and a lesion's mask; returns warning keys, or refuses the input."""

import math

import cv2
import numpy as np

from mammo.errors import ImageError, MaskError
from mammo.images.breast import Breast
from mammo.images.geometry import Box, Size, box_in_words, clip_box

# Bounds measured on 1,231 digitised films of CBIS-DDSM and eight at full resolution: the breast covers 8 to 76 % of the
# film, lies at most 5.4 % of its width from the edge of its chest wall, and spans it along at most 37 % of its height.
LEAST_SHARE, MOST_SHARE = 0.03, 0.90
MOST_GAP = 0.10
EDGE = 0.02  # of the width: this near is at the edge
MOST_SPAN = 0.5
# Lesions' boxes of the same films have sides of 12 px and more on films of 800 px, and cover at most 8 % of the film.
LEAST_SIDE_PX = 4
MOST_OF_FILM = 0.5
LEAST_INSIDE, MOST_OUTSIDE = 0.25, 0.1
MOST_OF_MASK = 0.5
MOST_BETWEEN = 0.5  # pixels between the two values, over those of the lesion: an edge of one or two pixels has fewer
SOLID = np.ones((3, 3), np.uint8)
MOST_LABELS = 32  # a picture with more values between its ends is antialiased or was compressed as JPEG


def breast_remarks(breast: Breast, pixels: np.ndarray) -> tuple[str, ...]:
    """Return the warning keys of a breast.

    Args:
        breast: As `breast.find_breast` found it.
        pixels: The film, uint16 [height, width], 0 is black.
    """
    if int(pixels.min()) == int(pixels.max()):
        return ("one_value",)
    share, (_, width) = float(breast.mask.mean()), breast.mask.shape
    if share > MOST_SHARE:
        return ("breast_large",)
    found = ["breast_small"] if share < LEAST_SHARE else []
    gap = breast.box[0] if breast.chest_wall == "left" else width - breast.box[0] - breast.box[2]
    if gap > MOST_GAP * width:
        found.append("breast_detached")
    edge = max(1, round(EDGE * width))
    if float((breast.mask[:, :edge].any(axis=1) & breast.mask[:, -edge:].any(axis=1)).mean()) > MOST_SPAN:
        found.append("breast_two_sides")
    return tuple(found)


def checked_box(box: Box, size: Size, breast: Breast | None = None) -> tuple[Box, tuple[str, ...]]:
    """Cut a lesion's box down to its film, and return its warning keys too.

    Args:
        box: (x, y, width, height) in film pixels.
        size: (height, width) of the film.
        breast: Of the film in the same orientation as the box; without it, "box_off_breast" is not checked.

    Raises:
        ImageError: The box is invalid, is in shares of the film's sides, or has less than a quarter on the film.
    """
    height, width = size
    if min(size) > 2 * LEAST_SIDE_PX and all(math.isfinite(number) for number in box) and 0 < max(box) <= 1:
        problem = "lies within the first pixel: its numbers look like shares of the film's sides, not pixels"
        advice = f"multiply x and width by the film's width, {width}, and y and height by its height, {height}"
        raise ImageError(f"the box {box_in_words(box)} {problem}; {advice} (YOLO's x, y are the middle of the box)")
    inside = clip_box(box, size)
    share = (inside[2] / box[2]) * (inside[3] / box[3])
    if share < LEAST_INSIDE:
        problem = f"lies for the most part outside its image of {width} × {height} pixels"
        advice = "is it in pixels of another resolution? Check its coordinates"
        raise ImageError(f"the box {box_in_words(box)} {problem}; {advice}")
    found = ["box_outside"] if share < 1 - MOST_OUTSIDE else []
    if min(box[2], box[3]) < LEAST_SIDE_PX:
        found.append("box_tiny")
    if inside[2] * inside[3] > MOST_OF_FILM * height * width:
        found.append("box_large")
    if breast is not None and not _touches(inside, breast.mask):
        found.append("box_off_breast")
    return inside, tuple(found)


def _touches(box: Box, mask: np.ndarray) -> bool:
    x, y, width, height = box
    rows = slice(int(y), max(int(y) + 1, math.ceil(y + height)))
    return bool(mask[rows, int(x) : max(int(x) + 1, math.ceil(x + width))].any())


def check_mask(name: str, pixels: np.ndarray, mask: np.ndarray) -> tuple[str, ...]:
    """Refuse a mask that does not outline one lesion; return the warning keys of another.

    Args:
        name: The file, for messages.
        pixels: Its stored values, of any integer type [height, width].
        mask: bool [height, width], the pixels of the lesion.

    Raises:
        MaskError: It has several labels, or covers most of its film, as an inverted one does.
    """
    low, high = int(pixels.min()), int(pixels.max())
    slack = 10 / 255 * (high - low)
    between = (pixels > low + slack) & (pixels < high - slack)
    labels = np.unique(pixels[between])
    solid = (cv2.erode((pixels == label).astype(np.uint8), SOLID).any() for label in labels)
    if len(labels) <= MOST_LABELS and any(solid):
        values = ", ".join(str(int(value)) for value in [*labels[:5], high])
        raise MaskError(f"{name}: expected a mask of two values, got the labels {values}; save one mask per lesion")
    share = float(mask.mean())
    if share > MOST_OF_MASK:
        expected = "Expected the lesion bright on black"
        raise MaskError(f"{name}: the mask covers {share:.0%} of its film; is it inverted? {expected}")
    return ("mask_gray",) if between.sum() > MOST_BETWEEN * mask.sum() else ()
