"""Checks what was found on a film for plausibility: the breast, a lesion's box, a lesion's mask; returns remarks or refuses."""

import math

import cv2
import numpy as np

from mammo.errors import ImageError, MaskError
from mammo.images.breast import Breast
from mammo.images.geometry import Box, Size, box_in_words, clip_box

# Bounds measured on 1,231 digitised films of CBIS-DDSM and eight at full resolution: the breast covers 8 to 76 % of the film, lies
# at most 5.4 % of its width from the edge of its chest wall, and reaches from side to side along at most 37 % of its height.
LEAST_SHARE, MOST_SHARE = 0.03, 0.90
MOST_GAP = 0.10
EDGE = 0.02  # of the width: so near counts as at the edge
MOST_SPAN = 0.5
# Lesions' boxes of the same films have sides of 12 px and more on films of 800 px, and cover at most 8 % of the film.
LEAST_SIDE_PX = 4
MOST_OF_FILM = 0.5
LEAST_INSIDE, MOST_OUTSIDE = 0.25, 0.1
MOST_OF_MASK = 0.5
MOST_BETWEEN = 0.5  # pixels between the two values, over those of the lesion: an edge of one or two pixels has fewer
SOLID = np.ones((3, 3), np.uint8)
MOST_LABELS = 32  # a picture of more values between its ends is antialiased or went through JPEG


def breast_remarks(breast: Breast, pixels: np.ndarray) -> tuple[str, ...]:
    """Say what is implausible about a breast that was found.

    Args:
        breast: As `breast.find_breast` found it.
        pixels: The film, uint16 [height, width].

    Returns:
        Keys of `remarks.REMARKS`.
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
    """Cut a lesion's box down to its film, and say what is implausible about it.

    Args:
        box: (x, y, width, height) in film pixels.
        size: (height, width) of the film.
        breast: Of the film in the same orientation as the box; None leaves out whether the box lies on it.

    Returns:
        The part inside the film, and keys of `remarks.REMARKS`.

    Raises:
        ImageError: It is no box, its numbers are shares of the film's sides, or less than a quarter of it lies on the film.
    """
    if min(size) > 2 * LEAST_SIDE_PX and all(math.isfinite(number) for number in box) and 0 < max(box) <= 1:
        raise ImageError(
            f"the box {box_in_words(box)} lies within the first pixel: these look like shares of the film's sides, not pixels; multiply "
            f"x and width by the film's width, {size[1]}, and y and height by its height, {size[0]} (YOLO's x, y are the box's middle)"
        )
    inside = clip_box(box, size)
    share = (inside[2] / box[2]) * (inside[3] / box[3])
    if share < LEAST_INSIDE:
        raise ImageError(
            f"the box {box_in_words(box)} lies for the most part outside its image of {size[1]} × {size[0]} pixels; is it in pixels of "
            "another resolution? Check its coordinates"
        )
    found = ["box_outside"] if share < 1 - MOST_OUTSIDE else []
    if min(box[2], box[3]) < LEAST_SIDE_PX:
        found.append("box_tiny")
    if inside[2] * inside[3] > MOST_OF_FILM * size[0] * size[1]:
        found.append("box_large")
    if breast is not None and not _touches(inside, breast.mask):
        found.append("box_off_breast")
    return inside, tuple(found)


def _touches(box: Box, mask: np.ndarray) -> bool:
    x, y, width, height = box
    rows = slice(int(y), max(int(y) + 1, math.ceil(y + height)))
    return bool(mask[rows, int(x) : max(int(x) + 1, math.ceil(x + width))].any())


def check_mask(name: str, pixels: np.ndarray, mask: np.ndarray) -> tuple[str, ...]:
    """Refuse a mask that does not outline one lesion, and say what is doubtful about one that does.

    Args:
        name: The file, for the message.
        pixels: Its stored values [height, width].
        mask: bool [height, width], what is taken for the lesion.

    Raises:
        MaskError: It has several labels, or covers most of its film, as an inverted one does.
    """
    low, high = int(pixels.min()), int(pixels.max())
    slack = 10 / 255 * (high - low)
    between = (pixels > low + slack) & (pixels < high - slack)
    labels = np.unique(pixels[between])
    if 0 < len(labels) <= MOST_LABELS and any(
        cv2.erode((pixels == label).astype(np.uint8), SOLID).any() for label in labels
    ):
        values = ", ".join(str(int(value)) for value in [*labels[:5], high])
        raise MaskError(
            f"{name}: expected a mask of two values, got the labels {values}; save a mask of its own for each lesion"
        )
    if float(mask.mean()) > MOST_OF_MASK:
        raise MaskError(
            f"{name}: the mask covers {mask.mean():.0%} of its film; is it inverted? Expected the lesion bright on black"
        )
    return ("mask_gray",) if between.sum() > MOST_BETWEEN * mask.sum() else ()
