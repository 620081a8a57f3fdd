"""Prepared films and lesion crops: orientation, boxes, levels and borders."""

from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from mammo.errors import ImageError
from mammo.images.decode import read_film
from mammo.images.film import Film
from mammo.images.geometry import Box, box_of_mask
from mammo.images.preprocess import PreprocessSettings, centre_crop, prepare_film, prepare_lesion
from mammo.settings.schema import DataSettings
from tests.images.drawn_film import SIZE, drawn_breast, drawn_film
from tests.shared_data import SHARED, needs

MASS = SHARED / "cbis_ddsm_mass_800"


def film_settings(**changes: Any) -> PreprocessSettings:
    return PreprocessSettings(
        **{"task": "film", "image_size": (256, 192), "context": 2, "margin": 1.3, "intensity": "full", **changes}
    )


def lesion_settings(**changes: Any) -> PreprocessSettings:
    return film_settings(**{"task": "lesion", "image_size": (64, 64), "margin": 1.0, **changes})


def mirrored(box: Box) -> Box:
    return (SIZE[1] - box[0] - box[2], *box[1:])


LESION = (100.0, 250.0, 60.0, 40.0)


def film_with_lesion() -> Film:
    pixels = drawn_film(letters=True)
    pixels[250:290, 100:160] = 65535
    return Film(pixels, 16)


def test_settings_come_from_data_settings() -> None:
    settings = PreprocessSettings.from_data(DataSettings(task="breast", image_size=(300, 200), margin=1.5))
    assert (settings.task, settings.stored_size) == ("film", (300, 200))
    lesion = PreprocessSettings.from_data(DataSettings(task="lesion", image_size=(224, 224), margin=1.3))
    assert (lesion.task, lesion.stored_size) == ("lesion", (291, 291))  # 224 · 1.3 = 291.2


def test_key_is_short_stable_and_depends_on_every_setting() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"task": "lesion"},
        {"image_size": (64, 64)},
        {"context": 3},
        {"margin": 1.1},
        {"intensity": "percentile"},
        {"version": 3},
        {"raw_films": "accept"},
        {"film_px": 800},
    ]
    keys = {film_settings(**change).key for change in changes}
    assert len(keys) == len(changes)
    assert film_settings().key == film_settings().key
    assert all(len(key) == 16 for key in keys)


def test_unknown_setting_raises() -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        film_settings(colour=True)


def test_film_and_its_mirror_image_give_the_same_pixels() -> None:
    film = film_with_lesion()
    turned = Film(np.ascontiguousarray(film.pixels[:, ::-1]), 16)
    for settings in (film_settings(intensity="percentile"), film_settings(image_size=(200, 300))):
        one, other = prepare_film(film, settings, box=LESION), prepare_film(turned, settings, box=mirrored(LESION))
        assert np.array_equal(one.pixels, other.pixels)
        assert one.box == pytest.approx(other.box)


def test_lesion_crop_and_its_mirror_image_give_the_same_pixels() -> None:
    film = film_with_lesion()
    turned = Film(np.ascontiguousarray(film.pixels[:, ::-1]), 16)
    boxes = [LESION, (3.0, 280.0, 31.0, 21.0)]
    one = [prepare_lesion(film, box, lesion_settings()) for box in boxes]
    other = [prepare_lesion(turned, mirrored(box), lesion_settings()) for box in boxes]
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, other, strict=True))
    assert [crop.box for crop in one] == [pytest.approx(crop.box) for crop in other]


@pytest.mark.parametrize("turned", [False, True])
def test_box_lies_on_its_lesion(turned: bool) -> None:
    film, box = film_with_lesion(), LESION
    if turned:
        film, box = Film(np.ascontiguousarray(film.pixels[:, ::-1]), 16), mirrored(box)
    for prepared in (prepare_film(film, film_settings(), box=box), prepare_lesion(film, box, lesion_settings())):
        assert prepared.box == pytest.approx(box_of_mask(prepared.pixels > 45000), abs=1.01)


def test_film_is_letterboxed_with_its_aspect_kept() -> None:
    film, settings = Film(drawn_film(letters=True), 16), film_settings(image_size=(256, 256))
    prepared = prepare_film(film, settings, box=(10, 100, 100, 100))
    assert prepared.pixels.shape == (256, 256)
    assert prepared.box is not None  # it shows the map to the picture; the chest wall is on the left
    scale_x, scale_y = prepared.box[2] / 100, prepared.box[3] / 100
    x_shift, y_shift = prepared.box[0] - 10 * scale_x, prepared.box[1] - 100 * scale_y
    to_target = np.array([[scale_x, 0, x_shift], [0, scale_y, y_shift]])
    mapped = cv2.warpAffine(drawn_breast().astype(np.uint8), to_target, (256, 256), flags=cv2.INTER_NEAREST) > 0
    assert mapped.any()
    assert (prepared.pixels[mapped] > 5000).mean() > 0.98
    x, _, width, height = box_of_mask(prepared.pixels > 5000) or (0, 0, 0, 0)
    assert x == 0
    assert width / height == pytest.approx(260 / 400, rel=0.04)


def test_letters_and_border_do_not_reach_a_prepared_film() -> None:
    prepared = prepare_film(Film(drawn_film(letters=True, border=8), 16), film_settings())
    assert prepared.pixels.max() < 50000  # tissue ends at 45000, letters and border are 65535


def test_percentiles_of_the_breast_become_black_and_white() -> None:
    stretched = prepare_film(Film(drawn_film(), 16), film_settings(intensity="percentile")).pixels
    assert stretched.max() == 65535
    assert prepare_film(Film(drawn_film(), 16), film_settings()).pixels.max() <= 45000


def test_levels_of_a_lesion_crop_come_from_its_whole_film() -> None:
    settings = lesion_settings(intensity="percentile")
    dark, bright = np.full((300, 300), 100, dtype=np.uint16), slice(50, 250)
    dark[bright, :200] = np.linspace(10000, 50000, 200).astype(np.uint16)
    crop = prepare_lesion(Film(dark, 16), (95.0, 140.0, 10.0, 10.0), settings).pixels
    # The crop's own values cover about 25000-35000 of 10000-50000: far from black and white.
    assert crop.min() > 15000
    assert crop.max() < 50000


@pytest.mark.parametrize("value", [0, 20000])
@pytest.mark.parametrize("intensity", ["percentile", "full"])
def test_film_of_one_value_stays(value: int, intensity: str) -> None:
    film = Film(np.full((100, 75), value, dtype=np.uint16), 16)
    prepared = prepare_film(film, film_settings(image_size=(200, 150), intensity=intensity), box=(10, 20, 30, 40))
    assert (prepared.pixels == value).all()
    assert prepared.box == pytest.approx((20, 40, 60, 80))


def plain_film() -> Film:
    """Make a film in which each value shows its place; the bright left half makes the chest wall left."""
    rows, columns = np.mgrid[:200, :160]
    return Film(((rows * 160 + columns) * 2 + 100 * (columns < 80)).astype(np.uint16), 16)


def test_lesion_crop_is_centred_and_as_large_as_asked() -> None:
    prepared = prepare_lesion(plain_film(), (60.0, 80.0, 32.0, 16.0), lesion_settings())
    # Side 32 · 2 = 64 around (76, 88): from (44, 56), one to one.
    assert prepared.box in [(16, 24, 32, 16)]
    expected = plain_film().pixels[56:120, 44:108]
    assert any(np.array_equal(prepared.pixels, candidate) for candidate in (expected, expected[:, ::-1]))


def test_crop_beyond_the_film_mirrors_its_edge() -> None:
    film = plain_film()
    prepared = prepare_lesion(film, (0.0, 0.0, 32.0, 32.0), lesion_settings())
    padded = np.pad(film.pixels, 100, mode="reflect")  # numpy's reflect is OpenCV's BORDER_REFLECT_101
    expected = padded[84:148, 84:148] if prepared.chest_wall == "left" else padded[84:148, 84:148][:, ::-1]
    assert np.array_equal(prepared.pixels, expected)


def test_crop_larger_than_the_film_works() -> None:
    settings = lesion_settings(context=10)
    prepared = prepare_lesion(Film(plain_film().pixels[:40, :30], 16), (0.0, 0.0, 30.0, 40.0), settings)
    assert prepared.pixels.shape == (64, 64)
    assert prepared.box == pytest.approx((20, 16, 24, 32), abs=1)  # 64 / 80 per pixel: the crop ends at twice the film


def test_tiny_box_is_not_blown_up_without_limit() -> None:
    prepared = prepare_lesion(plain_film(), (70.0, 90.0, 2.0, 2.0), lesion_settings())
    assert prepared.box is not None
    assert prepared.box[2] == pytest.approx(2 * 64 / 48)


def test_crop_takes_the_aspect_of_the_image_size() -> None:
    prepared = prepare_lesion(plain_film(), (60.0, 80.0, 30.0, 30.0), lesion_settings(image_size=(128, 64)))
    assert prepared.pixels.shape == (128, 64)
    assert prepared.box is not None
    assert prepared.box[2:] == pytest.approx((32, 32))


def test_centre_of_a_crop_with_margin_is_the_crop_without() -> None:
    with_margin = prepare_lesion(plain_film(), (60.0, 80.0, 32.0, 32.0), lesion_settings(margin=1.5))
    without = prepare_lesion(plain_film(), (60.0, 80.0, 32.0, 32.0), lesion_settings())
    assert np.array_equal(centre_crop(with_margin.pixels, (64, 64)), without.pixels)


def test_centre_crop_of_a_smaller_image_raises() -> None:
    with pytest.raises(ImageError, match=r"expected an image of at least \(65, 64\)"):
        centre_crop(np.zeros((64, 64)), (65, 64))


def test_box_partly_outside_is_clipped() -> None:
    prepared = prepare_lesion(plain_film(), (-20.0, 100.0, 40.0, 20.0), lesion_settings())
    assert prepared.box is not None
    assert prepared.box[2:] == pytest.approx((20 * 64 / 48, 20 * 64 / 48))  # 20 × 20 is left, shown on at least 48


def test_box_wholly_outside_raises() -> None:
    with pytest.raises(ImageError, match="lies outside its image of 160 × 200 pixels"):
        prepare_lesion(plain_film(), (500.0, 0.0, 10.0, 10.0), lesion_settings())
    with pytest.raises(ImageError, match="lies outside its image"):
        prepare_film(plain_film(), film_settings(), box=(0.0, 300.0, 10.0, 10.0))


@needs("cbis_ddsm_mass_800", "train", "00001_LEFT_CC.jpg")
def test_real_film_and_its_mirror_image_give_the_same_pixels() -> None:
    film, settings = read_film(MASS / "train" / "00001_LEFT_CC.jpg"), film_settings(intensity="percentile")
    turned = Film(np.ascontiguousarray(film.pixels[:, ::-1]), film.bits)
    assert np.array_equal(prepare_film(film, settings).pixels, prepare_film(turned, settings).pixels)


def test_version_counts_every_change_of_pixels() -> None:
    """A change of these means needs a new `PreprocessSettings.version`: else old stores would count as current."""
    film = prepare_film(film_with_lesion(), film_settings(intensity="percentile")).pixels
    lesion_form = lesion_settings(intensity="percentile", margin=1.3)
    lesion = prepare_lesion(film_with_lesion(), LESION, lesion_form).pixels
    assert film_settings().version == 2
    np.testing.assert_allclose(
        sixteenths(film),
        [[20796, 16036, 4806, 0], [24194, 36328, 24276, 2819], [24954, 25022, 22627, 2851], [19643, 15249, 4937, 0]],
        atol=3,
    )
    np.testing.assert_allclose(
        sixteenths(lesion),
        [
            [24455, 24048, 25596, 24231],
            [24088, 38922, 40570, 25079],
            [25223, 42338, 47361, 25823],
            [26372, 25240, 24090, 23313],
        ],
        atol=3,
    )


def sixteenths(pixels: np.ndarray) -> np.ndarray:
    """Means of a 4 × 4 grid."""
    height, width = (side // 4 for side in pixels.shape)
    return pixels[: 4 * height, : 4 * width].reshape(4, height, 4, width).mean(axis=(1, 3))


def stretched(film: Film, box: Box, by: float) -> tuple[Film, Box]:
    """The film with columns that are narrower by a factor, so that there are more of them."""
    height, width = film.pixels.shape
    pixels = cv2.resize(film.pixels, (round(width * by), height), interpolation=cv2.INTER_LINEAR)
    return Film(pixels, 16), (box[0] * by, box[1], box[2] * by, box[3])


@pytest.mark.parametrize("by", [0.5, 2.0])
def test_pixel_aspect_undoes_a_squashed_film(by: float) -> None:
    film, (squashed, box) = film_with_lesion(), stretched(film_with_lesion(), LESION, by)
    expected = prepare_lesion(film, LESION, lesion_settings())
    found = prepare_lesion(squashed, box, lesion_settings(), pixel_aspect=1 / by)
    assert found.box == pytest.approx(expected.box, abs=1)
    difference = np.abs(found.pixels.astype(float) - expected.pixels) / 65535
    assert difference.mean() < 0.02
    without = prepare_lesion(squashed, box, lesion_settings())
    assert np.abs(without.pixels.astype(float) - expected.pixels).mean() / 65535 > 2 * difference.mean()


@pytest.mark.parametrize("by", [0.5, 2.0])
def test_pixel_aspect_undoes_a_squashed_whole_film(by: float) -> None:
    film, (squashed, box) = film_with_lesion(), stretched(film_with_lesion(), LESION, by)
    expected = prepare_film(film, film_settings(), box=LESION)
    found = prepare_film(squashed, film_settings(), box=box, pixel_aspect=1 / by)
    assert found.box == pytest.approx(expected.box, abs=3)
    assert np.abs(found.pixels.astype(float) - expected.pixels).mean() / 65535 < 0.02


def test_a_larger_film_is_reduced_to_the_rows_of_the_training_films() -> None:
    film, box = film_with_lesion(), LESION
    large = Film(cv2.resize(film.pixels, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST), 16)
    wide = tuple(3 * value for value in box)
    rows = film.pixels.shape[0]
    expected = prepare_lesion(film, box, lesion_settings())
    found = prepare_lesion(large, wide, lesion_settings(film_px=rows))
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.box == pytest.approx(expected.box)
    whole = prepare_film(large, film_settings(film_px=rows), box=wide)
    np.testing.assert_array_equal(whole.pixels, prepare_film(film, film_settings(), box=box).pixels)


def test_a_box_off_a_large_film_is_reported_in_the_films_own_pixels() -> None:
    large = Film(cv2.resize(film_with_lesion().pixels, None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST), 16)
    height, width = large.pixels.shape
    with pytest.raises(ImageError, match=f"outside its image of {width} × {height} pixels"):
        prepare_lesion(large, (width + 5.0, 10.0, 20.0, 20.0), lesion_settings(film_px=200))
