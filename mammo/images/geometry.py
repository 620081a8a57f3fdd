"""Maps boxes between images, and checks the boxes and masks of lesions: returns warning keys, or refuses the input."""

import math

import cv2
import numpy as np

from mammo.errors import ImageError, MaskError
from mammo.images.breast import Breast

Box = tuple[float, float, float, float]
Size = tuple[int, int]

MASK_TOLERANCE = 10 / 255
MASK_SHARE = 0.995
# Lesions' boxes of the same films have sides of 12 px and more on films of 800 px, and cover at most 8 % of the film.
LEAST_SIDE_PX = 4
MOST_OF_FILM = 0.5
LEAST_INSIDE, MOST_OUTSIDE = 0.25, 0.1
MOST_OF_MASK = 0.5
MOST_BETWEEN = 0.5  # pixels between the two values, over those of the lesion: an edge of one or two pixels has fewer
SOLID = np.ones((3, 3), np.uint8)
MOST_LABELS = 32  # a picture with more values between its ends is antialiased or was compressed as JPEG


def affine(*, scale: tuple[float, float] = (1, 1), shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Return the map x' = scale[0]·x + shift[0], y' = scale[1]·y + shift[1]; the map `b @ a` applies a, then b.

    Coordinates count from the top left corner of the top left pixel, so that pixel (0, 0) covers 0 to 1 and a box maps
    without any half-pixel correction.

    Returns:
        float64 [3, 3], for (x, y, 1).
    """
    return np.array([(scale[0], 0, shift[0]), (0, scale[1], shift[1]), (0, 0, 1)], dtype=np.float64)


def mapped_box(matrix: np.ndarray, box: Box) -> Box:
    """Map a box (x, y, width, height) by a product of `affine` maps, without clipping."""
    (scale_x, _, shift_x), (_, scale_y, shift_y), _ = matrix.tolist()
    x, y, width, height = box
    left, right = sorted((scale_x * x + shift_x, scale_x * (x + width) + shift_x))
    top, bottom = sorted((scale_y * y + shift_y, scale_y * (y + height) + shift_y))
    return left, top, right - left, bottom - top


def fitted_size(source_size: Size, target_size: Size) -> Size:
    """Return the largest (height, width) of the source's aspect that fits into the target; at least 1 pixel."""
    scale = min(target_size[0] / source_size[0], target_size[1] / source_size[1])
    height, width = (max(1, round(side * scale)) for side in source_size)
    return min(target_size[0], height), min(target_size[1], width)


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


def clip_box(box: Box, size: Size) -> Box:
    """Cut a box (x, y, width, height) to an image of (height, width). Raises ImageError if it is invalid or outside."""
    height, width = size
    if not all(math.isfinite(number) for number in box) or box[2] <= 0 or box[3] <= 0:
        expected = "a box x, y, width, height of finite numbers and positive sides"
        raise ImageError(f"expected {expected}, got {box_in_words(box)}; correct it")
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(float(width), box[0] + box[2]), min(float(height), box[1] + box[3])
    if right <= left or bottom <= top:
        place = f"outside its image of {width} × {height} pixels"
        raise ImageError(f"the box {box_in_words(box)} lies {place}; check its coordinates")
    return left, top, right - left, bottom - top


def box_in_words(box: Box) -> str:
    """Return a box as text for a message: x, y, width, height."""
    return ", ".join(f"{number:g}" for number in box)


def looks_like_mask(pixels: np.ndarray) -> bool:
    """Whether an image has just two values, as a lesion mask has and a film or a crop has not.

    Args:
        pixels: Stored values, [height, width] of any integer type. A constant image is no mask. Masks of 8 bits may
            have passed through lossy JPEG (those of Kaggle's CBIS-DDSM have): more than 99.5 % of their pixels must lie
            within 10/255 of one of the two ends.
    """
    low, high = int(pixels.min()), int(pixels.max())
    if low == high:
        return False
    if pixels.dtype != np.uint8:
        return bool(np.all((pixels == low) | (pixels == high)))
    slack = MASK_TOLERANCE * (high - low)
    return float(np.mean((pixels <= low + slack) | (pixels >= high - slack))) > MASK_SHARE


def mask_from(pixels: np.ndarray) -> np.ndarray:
    """Turn stored values [height, width] of any integer type into a mask.

    Returns:
        bool [height, width]: above the middle between lowest and highest value; for a constant image, above 0.
    """
    low, high = int(pixels.min()), int(pixels.max())
    return pixels > (low + high) / 2 if low < high else pixels > 0


def box_of_mask(mask: np.ndarray) -> Box | None:
    """Return the smallest box (x, y, width, height) around the pixels of a bool [height, width] mask; None if empty."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (float(x), float(y), float(width), float(height)) if width else None


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
    slack = MASK_TOLERANCE * (high - low)
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
