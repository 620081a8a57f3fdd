"""Maps boxes from the pixels of one image to those of another, and cuts them to an image."""

import math

import cv2
import numpy as np

from mammo.errors import ImageError

Box = tuple[float, float, float, float]
Size = tuple[int, int]


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
    height, width = (
        min(limit, max(1, round(side * scale))) for side, limit in zip(source_size, target_size, strict=True)
    )
    return height, width


def box_of_mask(mask: np.ndarray) -> Box | None:
    """Return the smallest box (x, y, width, height) around the pixels of a bool [height, width] mask; None if empty."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return (float(x), float(y), float(width), float(height)) if width else None


def clip_box(box: Box, size: Size) -> Box:
    """Cut a box (x, y, width, height) down to its part inside an image of (height, width).

    Raises:
        ImageError: A number is not finite, a side is not positive, or the box lies outside the image.
    """
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
