"""Prepares a film, or crops around its lesions, as oriented and scaled 16-bit pictures of one size."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeVar

import cv2
import numpy as np

from mammo.errors import ImageError, WeightsError
from mammo.images.breast import Breast, Side, breast_remarks, find_breast
from mammo.images.film import Film
from mammo.images.geometry import Box, Size, affine, checked_box, fitted_size, mapped_box
from mammo.settings.schema import DataSettings
from mammo.settings.types import CROPPED, Strict

BREAST_MARGIN = 0.02
MIN_SIDE_PX = 48
LARGEST_CROP = 2.0
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.8
WHITE = 65535
BoxOrNone = TypeVar("BoxOrNone", Box, Box | None)


class PreprocessSettings(Strict):
    """How films are prepared; the store has its key as name, and every checkpoint and export contains a copy.

    Attributes:
        task: `film` keeps the whole breast, `lesion` a crop around each box.
        image_size: (height, width) in pixels of the network's input.
        context: Side of a lesion crop over the longer side of its box.
        margin: Factor by which the stored crop is larger, so that augmentation can turn and shift.
        intensity: `percentile` stretches by the film's own breast tissue, `full` keeps the values.
        film_px: A film with more rows is first reduced to so many; 0 keeps all. A network that learnt from small films
            does not know sharp ones.
        raw_films: Whether raw detector values (DICOM FOR PROCESSING) are refused or accepted.
        version: Goes up with every change of this code that changes pixels.
    """

    task: Literal["film", "lesion"]
    image_size: tuple[int, int]
    context: float
    margin: float
    intensity: Literal["percentile", "full"]
    film_px: int = 0
    raw_films: Literal["refuse", "accept"] = "refuse"
    version: int = 2

    @classmethod
    def from_data(cls, data: DataSettings) -> "PreprocessSettings":
        """Take the data settings about pixels."""
        shared = data.model_dump(include=set(cls.model_fields) - {"task", "version"})
        return cls(task="lesion" if data.task in CROPPED else "film", **shared)

    @property
    def stored_size(self) -> Size:
        """(height, width) of the stored picture: lesion crops include the margin."""
        factor = self.margin if self.task == "lesion" else 1.0
        return round(self.image_size[0] * factor), round(self.image_size[1] * factor)

    @property
    def key(self) -> str:
        """A hash of all settings in 16 hexadecimal digits, the same on every machine."""
        later = {"film_px"} if not self.film_px else set()  # older stores keep their names
        canonical = json.dumps(self.model_dump(mode="json", exclude=later), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def check_version(settings: PreprocessSettings, where: Path, advice: str) -> None:
    """Raise a WeightsError if a network learnt from films that another version prepared: pixels may differ."""
    now = PreprocessSettings.model_fields["version"].default
    if settings.version != now:
        versions = f"version {settings.version} of mammo's preparing, this is version {now}"
        raise WeightsError(f"{where}: its network learnt from films of {versions}, and pixels may differ; {advice}")


@dataclass(frozen=True)
class Prepared:
    """One picture, ready for the store.

    Attributes:
        pixels: uint16 [height, width] of `stored_size`, 0 is black; the chest wall is on the left.
        box: The lesion (x, y, width, height) in stored pixels, if one was given.
        chest_wall: The side of the film from which the breast comes.
        remarks: Warning keys of the film, the breast and the box.
    """

    pixels: np.ndarray
    box: Box | None
    chest_wall: Side
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Oriented:
    """A film whose chest wall is on the left, after a flip if needed (`matrix`); `found` is the breast before that."""

    pixels: np.ndarray
    breast: Breast
    matrix: np.ndarray
    found: Breast
    remarks: tuple[str, ...]


def prepare_film(
    film: Film, settings: PreprocessSettings, *, box: Box | None = None, pixel_aspect: float = 1.0
) -> Prepared:
    """Prepare a whole breast: oriented, cropped with a small margin, aspect kept, black around it.

    The breast lies at the left edge (its chest wall), centred from top to bottom. Everything off the breast (letters,
    labels, film borders) is black.

    Args:
        settings: Of task `film`.
        box: A lesion (x, y, width, height) in film pixels; the part off the film is cut away.
        pixel_aspect: The width of the film's pixels over their height; the prepared picture has square pixels.

    Raises:
        ImageError: The box is invalid (`geometry.checked_box`), or `settings` refuses the film's raw detector values.
    """
    film, box = _reduced(film, box, settings)
    oriented = _oriented(film, settings)
    inside, remarks = (None, ()) if box is None else checked_box(box, _size(film.pixels), oriented.found)
    x, y, width, height = _with_margin(oriented.breast.box, _size(oriented.pixels), pixel_aspect)
    cropped, mask = (each[y : y + height, x : x + width] for each in (oriented.pixels, oriented.breast.mask))
    rows, columns = fitted_size((height, max(1, round(width * pixel_aspect))), settings.stored_size)
    picture = _stretched(_resized(cropped, (rows, columns)), _levels(oriented, settings))
    kept = cv2.resize(mask.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST)
    pixels = np.zeros(settings.stored_size, dtype=np.uint16)
    top = (settings.stored_size[0] - rows) // 2
    pixels[top : top + rows, :columns] = np.where(kept > 0, picture, 0)
    if inside is not None:
        fitting = affine(shift=(0, top)) @ affine(scale=(columns / width, rows / height))
        inside = mapped_box(fitting @ (affine(shift=(-x, -y)) @ oriented.matrix), inside)
    return Prepared(pixels, inside, oriented.found.chest_wall, (*oriented.remarks, *remarks))


def prepare_lesion(film: Film, box: Box, settings: PreprocessSettings, *, pixel_aspect: float = 1.0) -> Prepared:
    """Prepare a crop around a lesion; orientation and gray levels come from the whole film.

    The shorter side of the crop is the box's longer side × context × margin, at least `MIN_SIDE_PX` × margin and at
    most twice the film's longer side, all in heights of a pixel. Beyond its edge the film is mirrored.

    Args:
        box: (x, y, width, height) in film pixels; the part off the film is cut away.
        settings: Of task `lesion`.
        pixel_aspect: The width of the film's pixels over their height; the prepared picture has square pixels.

    Raises:
        ImageError: The box is invalid (`geometry.checked_box`), or `settings` refuses the film's raw detector values.
    """
    film, box = _reduced(film, box, settings)
    oriented = _oriented(film, settings)
    inside, remarks = checked_box(box, _size(film.pixels), oriented.found)
    turned = mapped_box(oriented.matrix, inside)
    x, y, width, height = _crop_around(turned, _size(oriented.pixels), settings, pixel_aspect)
    film_height, film_width = _size(oriented.pixels)
    around = oriented.pixels[np.ix_(_mirrored(y, height, film_height), _mirrored(x, width, film_width))]
    picture = _stretched(_resized(around, settings.stored_size), _levels(oriented, settings))
    stored_height, stored_width = settings.stored_size
    scaling = affine(scale=(stored_width / width, stored_height / height))
    stored_box = mapped_box(scaling @ (affine(shift=(-x, -y)) @ oriented.matrix), inside)
    return Prepared(picture, stored_box, oriented.found.chest_wall, (*oriented.remarks, *remarks))


def centre_crop(pixels: np.ndarray, size: Size) -> np.ndarray:
    """Cut `size` (height, width) out of the middle of [height, width, …] pixels. Raises ImageError if it is larger."""
    height, width = _size(pixels)
    if height < size[0] or width < size[1]:
        raise ImageError(f"expected an image of at least {size} (height, width), got {(height, width)}")
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    return pixels[top : top + size[0], left : left + size[1]]


def _reduced(film: Film, box: BoxOrNone, settings: PreprocessSettings) -> tuple[Film, BoxOrNone]:
    """Reduce a film to `film_px` rows, with its lesion's box, which is first checked in the film's own pixels."""
    height, width = _size(film.pixels)
    if not settings.film_px or height <= settings.film_px:
        return film, box
    size = settings.film_px, max(1, round(width * settings.film_px / height))
    if box is not None:
        checked_box(box, (height, width))
        box = mapped_box(affine(scale=(size[1] / width, size[0] / height)), box)
    return replace(film, pixels=_resized(film.pixels, size)), box


def _crop_around(
    box: Box, film_size: Size, settings: PreprocessSettings, pixel_aspect: float
) -> tuple[int, int, int, int]:
    x, y, width, height = box
    shorter = max(max(width * pixel_aspect, height) * settings.context, MIN_SIDE_PX) * settings.margin
    shorter = min(shorter, LARGEST_CROP * max(film_size[0], film_size[1] * pixel_aspect))
    scales = (shorter / min(settings.image_size) / across for across in (1.0, pixel_aspect))
    rows, columns = (max(1, round(side * scale)) for side, scale in zip(settings.image_size, scales, strict=True))
    return round(x + width / 2 - columns / 2), round(y + height / 2 - rows / 2), columns, rows


def _mirrored(start: int, count: int, length: int) -> np.ndarray:
    """Return the indices start … start + count - 1, mirrored into 0 … length - 1 without repeating the edge."""
    period = max(1, 2 * (length - 1))
    index = np.arange(start, start + count) % period
    return np.minimum(index, period - index) if length > 1 else np.zeros(count, dtype=np.int64)


def _oriented(film: Film, settings: PreprocessSettings) -> _Oriented:
    remarks = film.remarks
    if film.for_processing:
        if settings.raw_films == "refuse":
            problem = "is a raw FOR PROCESSING film, with detector values that viewers do not show"
            advice = "use the same film FOR PRESENTATION, or set data.raw_films=accept to train on raw films"
            raise ImageError(f"{problem}; {advice}")
        remarks = (*remarks, "for_processing")
    pixels = film.pixels
    found = find_breast(pixels)
    remarks = (*remarks, *breast_remarks(found, pixels))
    if found.chest_wall == "left":
        return _Oriented(pixels, found, np.eye(3), found, remarks)
    # Found again on the flipped film, so that a film and its mirror image give the same pixels to the last bit.
    turned = cv2.flip(pixels, 1)
    return _Oriented(turned, find_breast(turned), affine(scale=(-1, 1), shift=(pixels.shape[1], 0)), found, remarks)


def _with_margin(box: tuple[int, int, int, int], size: Size, pixel_aspect: float) -> tuple[int, int, int, int]:
    x, y, width, height = box
    margin = BREAST_MARGIN * max(width * pixel_aspect, height)
    across, down = round(margin / pixel_aspect), round(margin)
    left, top = max(0, x - across), max(0, y - down)
    right, bottom = min(size[1], x + width + across), min(size[0], y + height + down)
    return left, top, right - left, bottom - top


def _levels(oriented: _Oriented, settings: PreprocessSettings) -> tuple[int, int] | None:
    """Return the film's values that become black and white; None keeps all values."""
    if settings.intensity == "full":
        return None
    counts = np.bincount(oriented.pixels[oriented.breast.mask], minlength=WHITE + 1)
    share = np.cumsum(counts) * (100 / counts.sum())
    low, high = int(np.searchsorted(share, LOW_PERCENT)), int(np.searchsorted(share, HIGH_PERCENT))
    return (low, high) if high > low else None


def _stretched(pixels: np.ndarray, levels: tuple[int, int] | None) -> np.ndarray:
    if levels is None:
        return np.ascontiguousarray(pixels)
    low, high = levels
    shares = np.clip((pixels.astype(np.float32) - low) / (high - low), 0, 1)
    return np.rint(shares * WHITE).astype(np.uint16)


def _resized(pixels: np.ndarray, size: Size) -> np.ndarray:
    shrinks = size[0] < pixels.shape[0] or size[1] < pixels.shape[1]
    return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _size(pixels: np.ndarray) -> Size:
    return int(pixels.shape[0]), int(pixels.shape[1])
