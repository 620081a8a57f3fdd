"""Boxes through crops, flips, resizing and padding, against boxes computed by hand."""

import numpy as np
import pytest

from mammo.errors import ImageError
from mammo.images.geometry import Geometry, box_of_mask, clip_box, fitted_size


def test_crop_moves_a_box() -> None:
    assert Geometry.crop((100, 80), (10, 20, 30, 40)).box((15, 25, 5, 6)) == (5, 5, 5, 6)


def test_crop_beyond_the_image_moves_a_box() -> None:
    assert Geometry.crop((100, 80), (-10, -20, 30, 40)).box((0, 0, 5, 6)) == (10, 20, 5, 6)


def test_flip_mirrors_a_box() -> None:
    assert Geometry.flip_horizontal((100, 80)).box((10, 20, 30, 5)) == (40, 20, 30, 5)


def test_resize_scales_a_box() -> None:
    assert Geometry.resize((100, 80), (50, 160)).box((10, 20, 30, 40)) == (20, 10, 60, 20)


def test_whole_image_stays_the_whole_image() -> None:
    assert Geometry.resize((100, 80), (33, 17)).box((0, 0, 80, 100)) == pytest.approx((0, 0, 17, 33))


def test_letterbox_centres() -> None:
    geometry = Geometry.letterbox((100, 50), (200, 200))  # scale 2: 200 × 100, 50 free on each side
    assert geometry.box((0, 0, 50, 100)) == (50, 0, 100, 200)


def test_letterbox_to_the_left() -> None:
    assert Geometry.letterbox((100, 50), (200, 200), to_left=True).box((5, 10, 10, 10)) == (10, 20, 20, 20)


def test_steps_run_in_order() -> None:
    flipped = Geometry.flip_horizontal((100, 80)).then(Geometry.crop((100, 80), (40, 20, 40, 50)))
    assert flipped.then(Geometry.resize((50, 40), (100, 80))).box((0, 30, 10, 10)) == (60, 20, 20, 20)


def test_steps_of_other_sizes_raise() -> None:
    with pytest.raises(ImageError, match=r"expected a step from \(50, 40\) \(height, width\), got \(100, 80\)"):
        Geometry.resize((100, 80), (50, 40)).then(Geometry.flip_horizontal((100, 80)))


def test_turned_box_gets_the_upright_box_around_it() -> None:
    quarter = Geometry((0, -1, 10, 1, 0, 0), (10, 10), (10, 10))  # (x, y) → (10 - y, x)
    assert quarter.box((1, 2, 3, 4)) == (4, 1, 4, 3)


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        (Geometry.identity((100, 80)), (20, 40, 24, 12)),
        (Geometry.crop((100, 80), (10, 20, 40, 50)), (10, 20, 24, 12)),
        (Geometry.crop((100, 80), (-10, -20, 70, 100)), (30, 60, 24, 12)),
        (Geometry.flip_horizontal((100, 80)), (36, 40, 24, 12)),
        (Geometry.resize((100, 80), (50, 40)), (10, 20, 12, 6)),
        (Geometry.resize((100, 80), (25, 20)), (5, 10, 6, 3)),
        (Geometry.resize((100, 80), (200, 160)), (40, 80, 48, 24)),
        (Geometry.flip_horizontal((100, 80)).then(Geometry.letterbox((100, 80), (50, 50))), (23, 20, 12, 6)),
    ],
)
def test_box_follows_every_step(geometry: Geometry, expected: tuple[int, int, int, int]) -> None:
    assert geometry.box((20, 40, 24, 12)) == pytest.approx(expected)


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
