"""Boxes through crops, flips, resizing and padding, against boxes computed by hand."""

import numpy as np
import pytest

from mammo.errors import ImageError
from mammo.images.geometry import affine, box_of_mask, clip_box, fitted_size, mapped_box

FLIP = affine(scale=(-1, 1), shift=(80, 0))  # of an image of 80 columns


def test_crop_moves_a_box() -> None:
    assert mapped_box(affine(shift=(-10, -20)), (15, 25, 5, 6)) == (5, 5, 5, 6)


def test_crop_beyond_the_image_moves_a_box() -> None:
    assert mapped_box(affine(shift=(10, 20)), (0, 0, 5, 6)) == (10, 20, 5, 6)


def test_flip_mirrors_a_box() -> None:
    assert mapped_box(FLIP, (10, 20, 30, 5)) == (40, 20, 30, 5)


def test_resize_scales_a_box() -> None:
    assert mapped_box(affine(scale=(2, 0.5)), (10, 20, 30, 40)) == (20, 10, 60, 20)


def test_whole_image_stays_the_whole_image() -> None:
    assert mapped_box(affine(scale=(17 / 80, 33 / 100)), (0, 0, 80, 100)) == pytest.approx((0, 0, 17, 33))


def test_steps_run_in_order() -> None:
    flip_crop_resize = affine(scale=(2, 2)) @ affine(shift=(-40, -20)) @ FLIP
    assert mapped_box(flip_crop_resize, (0, 30, 10, 10)) == (60, 20, 20, 20)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (np.eye(3), (20, 40, 24, 12)),
        (affine(shift=(-10, -20)), (10, 20, 24, 12)),
        (affine(shift=(10, 20)), (30, 60, 24, 12)),
        (FLIP, (36, 40, 24, 12)),
        (affine(scale=(0.5, 0.5)), (10, 20, 12, 6)),
        (affine(scale=(0.25, 0.25)), (5, 10, 6, 3)),
        (affine(scale=(2, 2)), (40, 80, 48, 24)),
        (affine(shift=(5, 0)) @ affine(scale=(0.5, 0.5)) @ FLIP, (23, 20, 12, 6)),
    ],
)
def test_box_follows_every_step(matrix: np.ndarray, expected: tuple[int, int, int, int]) -> None:
    assert mapped_box(matrix, (20, 40, 24, 12)) == pytest.approx(expected)


def test_box_of_a_mask() -> None:
    mask = np.zeros((50, 60), dtype=bool)
    mask[9:12, 7:12] = True
    assert box_of_mask(mask) == (7, 9, 5, 3)
    assert box_of_mask(np.zeros((5, 5), dtype=bool)) is None


def test_box_is_clipped_to_its_image() -> None:
    assert clip_box((-5, 90, 20, 20), (100, 80)) == (0, 90, 15, 10)


@pytest.mark.parametrize("box", [(80, 0, 5, 5), (0, -9, 5, 9), (-20, 0, 20, 5)])
def test_box_outside_its_image_raises(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ImageError, match="lies outside its image of 80 × 100 pixels"):
        clip_box(box, (100, 80))


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (0, 0, 5, -1), (float("nan"), 0, 5, 5), (0, 0, float("inf"), 5)])
def test_senseless_box_raises(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ImageError, match="expected a box x, y, width, height of finite numbers"):
        clip_box(box, (100, 80))


def test_fitted_size_keeps_the_aspect_and_one_pixel() -> None:
    assert fitted_size((4000, 3000), (1152, 896)) == (1152, 864)
    assert fitted_size((3000, 3), (100, 100)) == (100, 1)
