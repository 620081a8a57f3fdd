"""Turns prepared pixels into the input of a network: normalisation, and the variants of test-time augmentation."""

from dataclasses import dataclass

import numpy as np

from mammo.errors import ImageError
from mammo.images.film import Film
from mammo.images.geometry import Box, Size
from mammo.images.preprocess import PreprocessSettings, centre_crop, prepare_film, prepare_lesion
from mammo.settings.schema import TestTimeSettings
from mammo.settings.types import Strict

# The means over ImageNet's three channels of its per-channel mean and deviation (0.485, 0.456, 0.406; 0.229, 0.224,
# 0.225), which published backbones were trained with: a film is gray, so all channels get the same shift.
MEAN = 0.449
DEVIATION = 0.226
FULL_SCALE = 65535.0


class InputForm(Strict):
    """The input that a network needs for a case; every export contains a copy.

    Attributes:
        preprocess: How the film, or the crop around a lesion, is prepared.
        channels: 1, or 3 copies of the film.
        views: Films of a case: 2 for a breast, else 1.
        test_time: The variants over which the logits are averaged.
    """

    preprocess: PreprocessSettings
    channels: int
    views: int
    test_time: TestTimeSettings

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(views, channels, height, width) of one variant."""
        return self.views, self.channels, *self.preprocess.image_size


@dataclass(frozen=True)
class NetworkInput:
    """The input of a network for one film.

    Attributes:
        image: float32 [variants, views, channels, height, width], normalised by `to_network`.
        present: bool [variants, views].
        unit: float32 [height, width] in 0-1, the picture of the plain variant.
        remarks: Warning keys of the film, the breast and the box.
    """

    image: np.ndarray
    present: np.ndarray
    unit: np.ndarray
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """A variant of test-time augmentation: flips left to right or upside down, window moved by (down, right) pixels."""

    mirrored: bool = False
    upside_down: bool = False
    shift: tuple[int, int] = (0, 0)


PLAIN = Variant()


def network_input(film: Film, form: InputForm, *, box: Box | None = None, pixel_aspect: float = 1.0) -> NetworkInput:
    """Prepare one film for a network; for a network of two views it is the only one.

    Args:
        box: The lesion (x, y, width, height) in film pixels; for lesion networks only.
        pixel_aspect: The width of the film's pixels over their height.

    Raises:
        ImageError: The box is missing or invalid, or the film has raw detector values.
    """
    if form.preprocess.task == "lesion":
        if box is None:
            advice = "give --box x,y,width,height, or use a model of data.task=image"
            raise ImageError(f"this is a lesion model and needs the lesion's box; {advice}")
        prepared = prepare_lesion(film, box, form.preprocess, pixel_aspect=pixel_aspect)
    else:
        prepared = prepare_film(film, form.preprocess, pixel_aspect=pixel_aspect)
    unit, all_variants = to_unit(prepared.pixels), variants(form.test_time)
    image = np.zeros((len(all_variants), *form.shape), np.float32)
    for number, variant in enumerate(all_variants):
        image[number, 0] = to_network(apply_variant(unit, form.preprocess.image_size, variant), form.channels)
    present = np.zeros((len(all_variants), form.views), bool)
    present[:, 0] = True
    return NetworkInput(image, present, apply_variant(unit, form.preprocess.image_size), prepared.remarks)


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """Scale uint16 [height, width] to float32 [height, width] in 0–1."""
    return pixels.astype(np.float32) / np.float32(FULL_SCALE)


def to_network(unit: np.ndarray, channels: int) -> np.ndarray:
    """Normalise float32 [height, width] in 0–1 to float32 [channels, height, width] in about -2 to 2.4."""
    shifted = (unit - np.float32(MEAN)) / np.float32(DEVIATION)
    return np.ascontiguousarray(np.broadcast_to(shifted, (channels, *shifted.shape)))


def variants(settings: TestTimeSettings) -> tuple[Variant, ...]:
    """List all combinations of the flips and shifts in the settings; the plain variant is the first."""
    flips = {"none": [(False, False)], "horizontal": [(False, False), (True, False)]}
    flips["both"] = [*flips["horizontal"], (False, True), (True, True)]
    step = settings.shift_px
    shifts = [(0, 0), (-step, 0), (step, 0), (0, -step), (0, step)] if step else [(0, 0)]
    return tuple(Variant(*flip, shift) for shift in shifts for flip in flips[settings.flips])


def apply_variant(unit: np.ndarray, size: Size, variant: Variant = PLAIN) -> np.ndarray:
    """Cut the window of a variant out of an image, and flip it.

    Args:
        unit: float32 [height, width] in 0–1, at least `size`.
        size: (height, width) of the window.
        variant: Its shift uses the image's margin; beyond the image is 0, as around a film.

    Returns:
        float32 [*size] in 0–1.

    Raises:
        ImageError: The image is smaller than the window.
    """
    window = centre_crop(_moved(unit, variant.shift), size)
    if variant.mirrored:
        window = window[:, ::-1]
    return window[::-1] if variant.upside_down else window


def _moved(unit: np.ndarray, shift: tuple[int, int]) -> np.ndarray:
    """Return the image of the same size that begins `shift` (down, right) pixels further; 0 beyond the image."""
    (down, right), (height, width) = shift, unit.shape
    margin = max(abs(down), abs(right))
    return np.pad(unit, margin)[margin + down :, margin + right :][:height, :width]
