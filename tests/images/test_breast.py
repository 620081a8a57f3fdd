"""The breast on drawn and on real films."""

import csv
from collections import defaultdict

import cv2
import numpy as np
import pytest

from mammo.images.breast import find_breast
from mammo.images.decode import read_film
from tests.images.drawn_film import drawn_breast, drawn_film
from tests.shared_data import SHARED, needs

MASS = SHARED / "cbis_ddsm_mass_800"


def overlap(found: np.ndarray, drawn: np.ndarray) -> float:
    return float((found & drawn).sum() / (found | drawn).sum())


def test_drawn_breast_is_found() -> None:
    breast = find_breast(drawn_film())
    assert overlap(breast.mask, drawn_breast()) > 0.93
    assert breast.box == pytest.approx((0, 100, 261, 401), abs=14)
    assert breast.chest_wall == "left"


def test_mirrored_breast_is_found_on_the_right() -> None:
    breast = find_breast(drawn_film()[:, ::-1])
    assert breast.chest_wall == "right"
    assert overlap(breast.mask, drawn_breast()[:, ::-1]) > 0.93


def test_letters_and_labels_are_left_out() -> None:
    mask = find_breast(drawn_film(letters=True)).mask
    assert not mask[20:100, 320:].any()
    assert not mask[515:550, 350:].any()


@pytest.mark.parametrize("border", [3, 8, 20])
def test_white_film_borders_are_left_out(border: int) -> None:
    mask = find_breast(drawn_film(letters=True, border=border)).mask
    assert not mask[: border - 1].any()
    assert not mask[:, : border - 1].any()
    assert not mask[:, 300:].any()
    visible = drawn_breast()
    visible[:, :border] = False
    assert overlap(mask, visible) > 0.9


def test_mask_is_one_piece_without_holes() -> None:
    mask = find_breast(drawn_film(letters=True)).mask
    assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2
    assert cv2.connectedComponents((~mask).astype(np.uint8))[0] == 2


@pytest.mark.parametrize("value", [0, 30000, 65535])
@pytest.mark.parametrize("shape", [(60, 40), (1, 1), (3, 200)])
def test_film_of_one_value_is_all_breast(value: int, shape: tuple[int, int]) -> None:
    breast = find_breast(np.full(shape, value, dtype=np.uint16))
    assert (breast.box, breast.chest_wall) == ((0, 0, shape[1], shape[0]), "left")
    assert breast.mask.shape == shape
    assert breast.mask.all()


@pytest.mark.parametrize("shape", [(1, 2), (2, 2), (5, 3), (3, 700), (700, 2), (64, 64)])
def test_noise_of_any_shape_gives_a_mask_of_that_shape(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    breast = find_breast(pixels)
    assert breast.mask.shape == shape
    assert breast.mask.any()


@needs("cbis_ddsm_mass_800", "manifest.csv")
def test_real_lesions_lie_in_the_breast() -> None:
    boxes = defaultdict(list)
    with (MASS / "manifest.csv").open() as file:
        for row in csv.DictReader(file):
            boxes[row["image"]].append([round(float(row[name])) for name in ("x", "y", "width", "height")])
    covered = []
    for image in sorted(boxes)[::15]:
        mask = find_breast(read_film(MASS / image).pixels).mask
        covered += [float(mask[y : y + height, x : x + width].mean()) for x, y, width, height in boxes[image]]
    assert np.mean(covered) > 0.98
    assert min(covered) > 0.5


@needs("cbis_ddsm_mass_800", "train")
@pytest.mark.parametrize(
    # Checked by eye: side of the breast, and a point (x, y) on a letter or label.
    ("name", "side", "letter"),
    [
        ("01239_RIGHT_CC", "left", (520, 70)),
        ("01564_RIGHT_CC", "right", (140, 70)),
        ("00848_LEFT_MLO", "left", (740, 190)),
        ("00218_LEFT_MLO", "right", (30, 210)),
        ("00092_LEFT_CC", "left", (740, 40)),
    ],
)
def test_real_films_are_oriented_and_free_of_letters(name: str, side: str, letter: tuple[int, int]) -> None:
    breast = find_breast(read_film(MASS / "train" / f"{name}.jpg").pixels)
    assert breast.chest_wall == side
    assert not breast.mask[letter[1] - 20 : letter[1] + 20, letter[0] - 20 : letter[0] + 20].any()
