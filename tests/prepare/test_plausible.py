"""What is found on films is checked: breasts, boxes, masks, sides; and what is doubtful is counted, drawn and kept."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mammo.errors import ImageError, MaskError
from mammo.images.breast import breast_remarks, find_breast
from mammo.images.decode import read_film
from mammo.images.film import Film
from mammo.images.geometry import Box, check_mask, checked_box, mask_from
from mammo.images.preprocess import PreprocessSettings, prepare_film
from mammo.prepare.film_checks import other_side
from mammo.prepare.gather import gather_split, prepare_split
from tests.images.dicom_files import film_dataset, ramp, saved
from tests.processes import call, command, refused
from tests.tiny import tiny_settings, write_films

FILM = PreprocessSettings(task="film", image_size=(64, 48), context=2.0, margin=1.3, intensity="percentile")


def breast_film(height: int = 400, width: int = 300, *, reach: float = 0.6, at: int = 0) -> np.ndarray:
    """A half ellipse of tissue, its chest wall at column `at`; uint16."""
    film = np.zeros((height, width), np.uint16)
    cv2.ellipse(film, (at, height // 2), (int(reach * width), int(0.4 * height)), 0, -90, 90, 30_000, -1)
    return film


def remarks_on(film: np.ndarray) -> tuple[str, ...]:
    return breast_remarks(find_breast(film), film)


def test_plausible_breast_has_no_remark() -> None:
    assert remarks_on(breast_film()) == ()


def test_implausible_breasts_are_remarked() -> None:
    assert remarks_on(np.full((90, 70), 7, np.uint16)) == ("one_value",)
    assert remarks_on(breast_film(reach=0.6, at=120)) == ("breast_detached",)
    everything = np.full((400, 300), 30_000, np.uint16)
    everything[:8, :8] = 0
    assert remarks_on(everything) == ("breast_large",)
    both = np.zeros((400, 300), np.uint16)
    both[60:340] = 30_000
    assert "breast_two_sides" in remarks_on(both)
    small = np.zeros((1000, 1000), np.uint16)
    small[450:560, 0:140] = 30_000
    assert "breast_small" in remarks_on(small)


def test_white_muscle_at_the_edge_is_no_border() -> None:
    """A pectoral muscle as white as a film's border, a wedge at the chest wall, is part of the breast."""
    film = breast_film()
    cv2.fillPoly(film, [np.array([[0, 40], [110, 40], [0, 260]], np.int32)], 65_535)
    inside = find_breast(film).mask
    assert inside[60:180, 2:20].mean() > 0.95


BOXES: dict[str, tuple[Box, tuple[str, ...]]] = {
    "plain": ((50, 150, 40, 40), ()),
    "tiny": ((50, 150, 3, 40), ("box_tiny",)),
    "large": ((0, 0, 290, 380), ("box_large",)),
    "half outside": ((-20, 150, 40, 40), ("box_outside",)),
    "off the breast": ((250, 20, 30, 30), ("box_off_breast",)),
}


@pytest.mark.parametrize(("box", "remarks"), BOXES.values(), ids=BOXES)
def test_doubtful_boxes_are_remarked(box: Box, remarks: tuple[str, ...]) -> None:
    assert checked_box(box, (400, 300), find_breast(breast_film()))[1] == remarks


WRONG_BOXES: dict[str, tuple[Box, str]] = {
    "shares": (
        (0.4, 0.5, 0.1, 0.2),
        "look like shares of the film's sides, not pixels; multiply x and width by the film's width, 300",
    ),
    "mostly outside": (
        (280, 150, 100, 40),
        "lies for the most part outside its image of 300 × 400 pixels; is it in pixels of another",
    ),
    "outside": ((900, 150, 40, 40), "lies outside its image of 300 × 400"),
    "no number": ((float("nan"), 1, 2, 3), "finite numbers"),
}


@pytest.mark.parametrize(("box", "words"), WRONG_BOXES.values(), ids=WRONG_BOXES)
def test_wrong_boxes_are_refused_with_the_likely_cause(box: Box, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        checked_box(box, (400, 300))


def lesion_mask(value: int = 255, *, radius: int = 20) -> np.ndarray:
    mask = np.zeros((200, 160), np.uint8)
    cv2.circle(mask, (80, 100), radius, value, -1)
    return mask


def test_masks_of_one_lesion_are_taken() -> None:
    for mask in (lesion_mask(), lesion_mask(1), lesion_mask(200)):
        assert check_mask("m.png", mask, mask_from(mask)) == ()


def test_antialiased_mask_is_taken_and_a_soft_one_is_remarked() -> None:
    smooth = cv2.GaussianBlur(lesion_mask(), (3, 3), 0)
    assert check_mask("m.png", smooth, mask_from(smooth)) == ()
    soft = cv2.GaussianBlur(lesion_mask(), (31, 31), 0)
    assert check_mask("m.png", soft, mask_from(soft)) == ("mask_gray",)


@pytest.mark.parametrize(("first", "second"), [(1, 2), (127, 255), (85, 170)])
def test_mask_of_several_labels_is_refused(first: int, second: int) -> None:
    mask = lesion_mask(second)
    cv2.circle(mask, (30, 40), 9, first, -1)
    with pytest.raises(MaskError, match=f"expected a mask of two values, got the labels {first}, {second}"):
        check_mask("m.png", mask, mask_from(mask))


def test_inverted_mask_is_refused() -> None:
    mask = 255 - lesion_mask()
    with pytest.raises(MaskError, match="covers 96% of its film; is it inverted"):
        check_mask("m.png", mask, mask_from(mask))


def test_raw_film_is_refused_unless_settings_accept_it(tmp_path: Path) -> None:
    film = read_film(saved(film_dataset(ramp(), PresentationIntentType="FOR PROCESSING"), tmp_path / "a.dcm"))
    assert film.for_processing
    with pytest.raises(ImageError, match=r"raw FOR PROCESSING film.*data.raw_films=accept"):
        prepare_film(film, FILM)
    assert "for_processing" in prepare_film(film, FILM.model_copy(update={"raw_films": "accept"})).remarks


def test_side_is_compared_only_where_a_set_keeps_to_it() -> None:
    image = pd.Series([f"{number}.png" for number in range(40)])
    laterality = pd.Series(["LEFT", "RIGHT"] * 20)
    wall = np.array(["left", "right"] * 20, object)
    assert not other_side(laterality, wall, image).any()
    turned = wall.copy()
    turned[3] = "left"
    assert np.flatnonzero(other_side(laterality, turned, image)).tolist() == [3]
    mirrored = np.array(["right", "left"] * 20, object)
    mirrored[5] = "right"
    assert np.flatnonzero(other_side(laterality, mirrored, image)).tolist() == [5]
    mixed = wall.copy()
    mixed[:12] = "left"  # as CBIS-DDSM, where laterality says little
    assert not other_side(laterality, mixed, image).any()
    assert not other_side(laterality[:10], turned[:10], image[:10]).any()


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """The tiny set, one of its films without any breast."""
    write_films(tmp_path)
    cv2.imwrite(str(tmp_path / "00_CC.png"), np.full((96, 80), 900, np.uint16))
    return tmp_path


def test_doubtful_film_is_a_warning_that_is_counted_repeated_and_drawn(doubtful: Path) -> None:
    settings = tiny_settings(doubtful)
    path = doubtful / "a.yaml"
    path.write_text(settings.model_dump_json(), encoding="utf-8")
    for _ in range(2):  # prepared, and found in the store
        done = call(command("prepare", "-c", path))
        assert done.returncode == 0, done.stderr
        last = done.stdout.strip().splitlines()[-1]
        assert last == "warning: 1 × all pixels have one value: there is no breast to find, such as L00CC"
        assert (doubtful / "output" / "doubtful_films.png").is_file()
        assert "the 1 doubtful views first, framed in orange" in done.stdout


def test_doubtful_film_is_an_error_or_an_exclusion_where_settings_say_so(doubtful: Path) -> None:
    settings = tiny_settings(doubtful, data__doubtful="refuse")
    with pytest.raises(ImageError, match=r"00_CC\.png: all pixels have one value.*data\.doubtful=warn"):
        prepare_split(settings, gather_split(settings))
    settings = tiny_settings(doubtful, data__doubtful="refuse", data__bad_images="exclude")
    prepared = prepare_split(settings, gather_split(settings))
    assert prepared.split.samples.excluded["case"].tolist() == ["L00CC"]


def test_header_that_names_another_side_than_the_table_is_warned_of(tmp_path: Path) -> None:
    write_films(tmp_path)
    film = cv2.imread(str(tmp_path / "00_CC.png"), cv2.IMREAD_UNCHANGED)
    saved(film_dataset(film, bits=16, ImageLaterality="R"), tmp_path / "00_CC.dcm")
    table = (tmp_path / "manifest.csv").read_text(encoding="utf-8").replace("00_CC.png", "00_CC.dcm")
    (tmp_path / "manifest.csv").write_text(table, encoding="utf-8")
    settings = tiny_settings(tmp_path)
    warned = prepare_split(settings, gather_split(settings)).split.samples.warned
    assert warned[["case", "reason"]].to_numpy().tolist() == [
        ["L00CC", "the laterality of its DICOM header contradicts that of the table"]
    ]


def test_masks_that_are_all_refused_end_the_command(tmp_path: Path) -> None:
    write_films(tmp_path)
    rows = (tmp_path / "manifest.csv").read_text(encoding="utf-8").splitlines()
    lines = ["image,patient_id,label,mask"]
    mask = np.zeros((96, 80), np.uint8)
    mask[30:40, 30:40], mask[60:66, 30:36] = 1, 2
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    for row in rows[1:]:
        name, patient, *_, label, _, _, _, _ = row.split(",")
        lines.append(f"{name},{patient},{label},mask.png")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (tmp_path / "a.yaml").write_text(tiny_settings(tmp_path).model_dump_json(), encoding="utf-8")
    refused(call(command("prepare", "-c", tmp_path / "a.yaml")), "no case of task lesion is left", "mask.png")


def test_film_of_the_full_range_is_taken_for_none(tmp_path: Path) -> None:
    assert prepare_film(Film(breast_film(), 16), FILM).remarks == ()
