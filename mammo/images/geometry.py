"""Maps boxes from the pixels of one image to those of another: crops, flips, resizing and padding as one matrix."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from mammo.errors import ImageError

Box = tuple[float, float, float, float]
Size = tuple[int, int]
Matrix = tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Geometry:
    """An affine map from source to target pixels.

    Coordinates count from the top left corner of the top left pixel, so that pixel (0, 0) covers 0 to 1 and a box
    (x, y, width, height) maps without any half-pixel correction.

    Attributes:
        matrix: (a, b, c, d, e, f): x' = a·x + b·y + c, y' = d·x + e·y + f.
        source_size: (height, width) of the source image.
        target_size: (height, width) of the target image.
    """

    matrix: Matrix
    source_size: Size
    target_size: Size

    @classmethod
    def identity(cls, size: Size) -> "Geometry":
        """Change nothing."""
        return cls((1, 0, 0, 0, 1, 0), size, size)

    @classmethod
    def crop(cls, source_size: Size, box: tuple[int, int, int, int]) -> "Geometry":
        """Cut out a box (x, y, width, height), which may reach beyond the image."""
        x, y, width, height = box
        return cls((1, 0, -x, 0, 1, -y), source_size, (height, width))

    @classmethod
    def flip_horizontal(cls, size: Size) -> "Geometry":
        """Swap left and right."""
        return cls((-1, 0, size[1], 0, 1, 0), size, size)

    @classmethod
    def resize(cls, source_size: Size, target_size: Size) -> "Geometry":
        """Stretch to another size."""
        (from_height, from_width), (height, width) = source_size, target_size
        return cls((width / from_width, 0, 0, 0, height / from_height, 0), source_size, target_size)

    @classmethod
    def letterbox(cls, source_size: Size, target_size: Size, *, to_left: bool = False) -> "Geometry":
        """Scale to the largest size that fits, aspect kept, and centre it (or move it to the left edge)."""
        inner = fitted_size(source_size, target_size)
        top, left = (target_size[0] - inner[0]) // 2, 0 if to_left else (target_size[1] - inner[1]) // 2
        return cls.resize(source_size, inner).then(cls((1, 0, left, 0, 1, top), inner, target_size))

    def then(self, other: "Geometry") -> "Geometry":
        """Apply this map, then the other.

        Raises:
            ImageError: The other one does not start from this one's target size.
        """
        if self.target_size != other.source_size:
            raise ImageError(f"expected a step from {self.target_size} (height, width), got {other.source_size}")
        product = (_square(other.matrix) @ _square(self.matrix))[:2]
        a, b, c, d, e, f = (float(value) for value in product.ravel())
        return Geometry((a, b, c, d, e, f), self.source_size, other.target_size)

    def box(self, box: Box) -> Box:
        """Map a box (x, y, width, height), without clipping; a turned one becomes the upright box around it."""
        x, y, width, height = box
        a, b, c, d, e, f = self.matrix
        corners = [(x, y), (x + width, y), (x, y + height), (x + width, y + height)]
        xs, ys = [a * u + b * v + c for u, v in corners], [d * u + e * v + f for u, v in corners]
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


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


def _square(matrix: Matrix) -> np.ndarray:
    return np.array([matrix[:3], matrix[3:], (0.0, 0.0, 1.0)], dtype=np.float64)
