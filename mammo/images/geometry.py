"""Boxes and masks enter in one image's pixels and leave in another's: crops, flips, resizing and padding as one matrix."""

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
        source_size: (height, width) of the image that goes in.
        target_size: (height, width) of the image that comes out.
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
    def pad(cls, source_size: Size, target_size: Size, *, left: int, top: int) -> "Geometry":
        """Put the image into a larger frame, its corner at (left, top)."""
        return cls((1, 0, left, 0, 1, top), source_size, target_size)

    @classmethod
    def letterbox(cls, source_size: Size, target_size: Size, *, to_left: bool = False) -> "Geometry":
        """Scale to the largest size that fits, the aspect kept, and centre it (or move it to the left edge)."""
        inner = fitted_size(source_size, target_size)
        top, left = (target_size[0] - inner[0]) // 2, 0 if to_left else (target_size[1] - inner[1]) // 2
        return cls.resize(source_size, inner).then(cls.pad(inner, target_size, left=left, top=top))

    def then(self, other: "Geometry") -> "Geometry":
        """Do this, then the other.

        Raises:
            ImageError: The other does not start from this one's target size.
        """
        if self.target_size != other.source_size:
            raise ImageError(
                f"expected a step from {self.target_size} (height, width), got one from {other.source_size}"
            )
        product = _square(other.matrix) @ _square(self.matrix)
        return Geometry(_flat(product), self.source_size, other.target_size)

    def inverse(self) -> "Geometry":
        """Go from target to source."""
        return Geometry(_flat(np.linalg.inv(_square(self.matrix))), self.target_size, self.source_size)

    def box(self, box: Box) -> Box:
        """Map a box; of a turned one, the upright box around it. Nothing is clipped."""
        x, y, width, height = box
        a, b, c, d, e, f = self.matrix
        corners = [(x, y), (x + width, y), (x, y + height), (x + width, y + height)]
        xs, ys = [a * u + b * v + c for u, v in corners], [d * u + e * v + f for u, v in corners]
        return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """Map a bool mask [height, width] of source size; a target pixel is set where at least half of it is covered.

        Raises:
            ImageError: The mask is not of source size.
        """
        if mask.shape != self.source_size:
            raise ImageError(f"expected a mask of {self.source_size} (height, width), got {mask.shape}")
        a, b, _, d, e, _ = self.matrix
        height, width = self.source_size
        # Shrinking averages areas first: interpolation alone would lose what lies between its samples.
        reduced = (
            max(1, round(height * min(1.0, math.hypot(b, e)))),
            max(1, round(width * min(1.0, math.hypot(a, d)))),
        )
        small = cv2.resize(mask.astype(np.float32), reduced[::-1], interpolation=cv2.INTER_AREA)
        matrix = _square(Geometry.resize(reduced, self.source_size).then(self).matrix)
        half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])  # cv2 counts from pixel centres
        to_centres = (np.linalg.inv(half) @ matrix @ half)[:2]
        target = (self.target_size[1], self.target_size[0])
        return cv2.warpAffine(small, to_centres, target, flags=cv2.INTER_LINEAR, borderValue=0) >= 0.5


def fitted_size(source_size: Size, target_size: Size) -> Size:
    """The largest (height, width) of the source's aspect that fits into the target; at least 1 pixel."""
    scale = min(target_size[0] / source_size[0], target_size[1] / source_size[1])
    height, width = (
        min(limit, max(1, round(side * scale))) for side, limit in zip(source_size, target_size, strict=True)
    )
    return height, width


def box_of_mask(mask: np.ndarray) -> Box | None:
    """The smallest box around a bool mask's set pixels; None where there are none."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(columns):
        return None
    x, y = int(columns[0]), int(rows[0])
    return float(x), float(y), float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)


def clip_box(box: Box, size: Size) -> Box:
    """Cut a box down to its part inside the image.

    Raises:
        ImageError: A number is not finite, a side is not positive, or nothing of the box lies inside.
    """
    height, width = size
    if not all(math.isfinite(number) for number in box) or box[2] <= 0 or box[3] <= 0:
        raise ImageError(
            f"expected a box x, y, width, height of finite numbers and positive sides, got {box_in_words(box)}"
        )
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(float(width), box[0] + box[2]), min(float(height), box[1] + box[3])
    if right <= left or bottom <= top:
        raise ImageError(
            f"the box {box_in_words(box)} lies outside its image of {width} × {height} pixels; check its coordinates"
        )
    return left, top, right - left, bottom - top


def box_in_words(box: Box) -> str:
    """A box for a message: x, y, width, height."""
    return ", ".join(f"{number:g}" for number in box)


def _square(matrix: Matrix) -> np.ndarray:
    return np.array([matrix[:3], matrix[3:], (0.0, 0.0, 1.0)], dtype=np.float64)


def _flat(square: np.ndarray) -> Matrix:
    a, b, c, d, e, f = (float(value) for value in square[:2].ravel())
    return a, b, c, d, e, f
