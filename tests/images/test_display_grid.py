"""Displayed films against two other programs: pydicom's own functions over a grid of headers, and dcmtk for some."""

import itertools
import shutil
import struct
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, Sequence
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from mammo.errors import ImageError
from mammo.images.decode import FILM, kind_of, read_film
from mammo.images.dicom_header import SHUTTER
from mammo.images.display_rules import DISPLAY_RULES, READ
from tests.images.dicom_files import film_dataset, ramp, saved

CLOSE = 2 / 65535  # rounding to 16 bits, twice


def table(entries: np.ndarray, first: int, bits: int, form: str) -> Sequence:
    """A LUT sequence: its data as words (OW), or as a list of numbers (US)."""
    item = Dataset()
    item.add(DataElement("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits]))
    words = [int(entry) for entry in entries]
    item.add(DataElement("LUTData", form, struct.pack(f"<{len(words)}H", *words) if form == "OW" else words))
    return Sequence([item])


PIXELS: dict[str, tuple[np.ndarray, int]] = {
    "8 of 8": (ramp(top=255).astype(np.uint8), 8),
    "6 of 8": (ramp(top=63).astype(np.uint8), 6),
    "10 of 16": (ramp(top=1023), 10),
    "12 of 16": (ramp(), 12),
    "16 of 16": (ramp(top=65535), 16),
    "signed 12 of 16": (ramp().astype(np.int16) - 2048, 12),
    "signed 16 of 16": ((ramp(top=65535).astype(np.int64) - 32768).astype(np.int16), 16),
}
MODALITY: dict[str, dict[str, Any]] = {
    "none": {},
    "identity": {"RescaleSlope": "1", "RescaleIntercept": "0"},
    "shifted": {"RescaleSlope": "2", "RescaleIntercept": "-100"},
    "falling": {"RescaleSlope": "-1.5", "RescaleIntercept": "40"},
}
VOI: dict[str, dict[str, Any]] = {
    "none": {},
    "linear": {"WindowCenter": "60", "WindowWidth": "101"},
    "linear, several": {"WindowCenter": ["40", "900"], "WindowWidth": ["61", "1500"], "VOILUTFunction": "LINEAR"},
    "exact": {"WindowCenter": "50", "WindowWidth": "80.5", "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": "30", "WindowWidth": "120", "VOILUTFunction": "SIGMOID"},
}
GROUPS = {"VOI": "FrameVOILUTSequence", "value": "PixelValueTransformationSequence"}
KINDS = ("MONOCHROME1", "MONOCHROME2")
PLACES = ("top", "shared", "own")
GRID = list(itertools.product(PIXELS, MODALITY, VOI, KINDS, PLACES))


def in_groups(dataset: FileDataset, modality: dict[str, Any], voi: dict[str, Any], place: str) -> FileDataset:
    """Put the two steps into the functional groups of a one-frame object."""
    group = Dataset()
    for name, elements in (("value", modality), ("VOI", voi)):
        if elements:
            item = Dataset()
            for keyword, value in elements.items():
                setattr(item, keyword, value)
            setattr(group, GROUPS[name], Sequence([item]))
    keyword = "SharedFunctionalGroupsSequence" if place == "shared" else "PerFrameFunctionalGroupsSequence"
    setattr(dataset, keyword, Sequence([group]))
    dataset.NumberOfFrames = 1
    return dataset


def shown_by_pydicom(dataset: FileDataset, *, inverted: bool) -> np.ndarray:
    """Shares of white, 0-1, of a data set whose display is at the top of its header."""
    stored = dataset.pixel_array
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
    low, high = (-(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1) if signed else (0.0, 2.0**bits - 1)
    if "RescaleSlope" in dataset:
        ends = sorted(float(dataset.RescaleSlope) * end + float(dataset.RescaleIntercept) for end in (low, high))
        low, high = ends
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(float)
    if "WindowCenter" in dataset and float(dataset.get("RescaleSlope", 1)) < 0:
        low, high = high, low  # pydicom's window runs from the value of the lowest stored pixel to that of the highest
    shares = np.clip((values - low) / (high - low), 0, 1)
    return 1 - shares if inverted else shares


def test_grid_of_headers_agrees_with_pydicom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    worst, counts = 0.0, Counter[str]()
    for pixels, modality, voi, kind, place in GRID:
        values, bits = PIXELS[pixels]
        plain = film_dataset(values, bits=bits, kind=kind, **MODALITY[modality], **VOI[voi])
        asked = plain
        if place != "top":
            asked = in_groups(film_dataset(values, bits=bits, kind=kind), MODALITY[modality], VOI[voi], place)
        got = read_film(saved(asked, tmp_path / "a.dcm")).pixels / 65535
        expected = shown_by_pydicom(plain, inverted=kind == "MONOCHROME1")
        worst = max(worst, float(np.abs(got - expected).max()))
        assert np.abs(got - expected).max() <= CLOSE, (pixels, modality, voi, kind, place)
        counts[place] += 1
    with capsys.disabled():
        print(f"\n{len(GRID)} headers agree with pydicom to {worst:.1e} of white: {dict(counts)}")
    assert len(GRID) >= 300


TABLES = list(
    itertools.product(("VOILUTSequence", "ModalityLUTSequence"), ("OW", "US"), (0, 100, -50), (8, 10, 12, 16))
)


@pytest.mark.parametrize(("keyword", "form", "first", "bits"), TABLES)
def test_tables_in_every_form_are_looked_up(tmp_path: Path, keyword: str, form: str, first: int, bits: int) -> None:
    """PS3.3 C.11.1.1 and C.11.2.1.1; and pydicom, without VOI tables of 8 bits and modality tables of 10 or 12."""
    values = ramp(top=1023).astype(np.int16 if first < 0 else np.uint16) - (100 if first < 0 else 0)
    entries = np.linspace(2**bits - 1, 0, 700).astype(np.uint16)
    dataset = film_dataset(values, bits=12, **{keyword: table(entries, first, bits, form)})
    got = read_film(saved(dataset, tmp_path / "a.dcm")).pixels / 65535
    expected = entries[np.clip(values.astype(int) - first, 0, len(entries) - 1)]
    assert np.abs(got - expected / (2**bits - 1)).max() <= CLOSE
    if keyword == "VOILUTSequence" and bits > 8:
        assert np.array_equal(apply_voi_lut(dataset.pixel_array, dataset), expected)
    if keyword == "ModalityLUTSequence" and bits in (8, 16):
        assert np.array_equal(apply_modality_lut(dataset.pixel_array, dataset), expected)


def test_table_of_bytes_is_read_two_to_a_word(tmp_path: Path) -> None:
    # PS3.3 C.11.1.1.1: entries of 8 bits may be packed, the first in the low byte of a word.
    entries = bytes([0, 51, 102, 255])
    item = Dataset()
    item.LUTDescriptor = [4, 10, 8]
    item.add(DataElement("LUTData", "OW", entries))
    dataset = film_dataset(np.array([[9, 10, 11, 12, 13, 99]], dtype=np.uint16), VOILUTSequence=Sequence([item]))
    assert read_film(saved(dataset, tmp_path / "a.dcm")).pixels.tolist() == [[0, 0, 51 * 257, 102 * 257, 65535, 65535]]


def test_first_value_of_a_table_written_as_unsigned_is_negative_for_signed_pixels(tmp_path: Path) -> None:
    item = Dataset()
    item.add(DataElement("LUTDescriptor", "US", [3, 2**16 - 2, 8]))
    item.add(DataElement("LUTData", "OW", struct.pack("<3H", 0, 51, 255)))
    dataset = film_dataset(np.array([[-9, -2, -1, 0, 9]], dtype=np.int16), VOILUTSequence=Sequence([item]))
    assert read_film(saved(dataset, tmp_path / "a.dcm")).pixels.tolist() == [[0, 0, 51 * 257, 65535, 65535]]


@pytest.mark.parametrize("high_bit", [11, 12, 13, 14, 15])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("rest", ["zeros", "overlay"])
def test_pixel_lies_below_the_high_bit(tmp_path: Path, high_bit: int, signed: bool, rest: str) -> None:
    values = ramp().astype(np.int16) - 2048 if signed else ramp()
    plain = read_film(saved(film_dataset(values), tmp_path / "plain.dcm")).pixels
    cells = (values.astype(np.int64) & 0xFFF) << (high_bit - 11)
    if rest == "overlay":
        cells |= 0xFFFF ^ (0xFFF << (high_bit - 11))
    moved = film_dataset(cells.astype(np.uint16).view(values.dtype), HighBit=high_bit)
    assert np.array_equal(read_film(saved(moved, tmp_path / "moved.dcm")).pixels, plain)


@pytest.mark.parametrize("allocated", [8, 16])
def test_every_count_of_bits_reaches_white(tmp_path: Path, allocated: int) -> None:
    for bits in range(1, allocated + 1):
        pixels = np.array([[0, 2**bits - 1]], dtype=f"u{allocated // 8}")
        film = read_film(saved(film_dataset(pixels, bits=bits), tmp_path / "a.dcm"))
        assert (film.pixels.tolist(), film.bits) == ([[0, 65535]], bits)


def test_inverse_shape_inverts_with_a_warning(tmp_path: Path) -> None:
    film = read_film(saved(film_dataset(ramp(), PresentationLUTShape="INVERSE"), tmp_path / "a.dcm"))
    assert film.remarks == ("polarity",)
    twin = read_film(
        saved(film_dataset(ramp(), kind="MONOCHROME1", PresentationLUTShape="INVERSE"), tmp_path / "b.dcm")
    )
    assert np.array_equal(film.pixels, twin.pixels)
    assert twin.remarks == ()


PADDING = {
    "one value": (0, {"PixelPaddingValue": 0}),
    "a high value": (4095, {"PixelPaddingValue": 4095}),
    "a range": (4000, {"PixelPaddingValue": 3990, "PixelPaddingRangeLimit": 4010}),
    "a range turned": (4000, {"PixelPaddingValue": 4010, "PixelPaddingRangeLimit": 3990}),
}


@pytest.mark.parametrize(("value", "elements"), PADDING.values(), ids=PADDING)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_as_dark_as_the_darkest_pixel(
    tmp_path: Path, value: int, elements: dict[str, Any], kind: str
) -> None:
    image = np.array([[500, 1000, 2000, 3000]], dtype=np.uint16)
    plain = read_film(saved(film_dataset(image, kind=kind), tmp_path / "plain.dcm")).pixels
    padded = np.concatenate([image, [[value, value]]], axis=1).astype(np.uint16)
    got = read_film(saved(film_dataset(padded, kind=kind, **elements), tmp_path / "padded.dcm")).pixels
    assert got.tolist() == [[*plain[0].tolist(), plain.min(), plain.min()]]


def test_negative_padding_is_known_by_its_bits(tmp_path: Path) -> None:
    pixels = np.array([[-2000, 100, 2000]], dtype=np.int16)
    dataset = film_dataset(pixels, bits=16)
    dataset.add(DataElement("PixelPaddingValue", "US", 2**16 - 2000))
    got = read_film(saved(dataset, tmp_path / "a.dcm")).pixels
    assert got[0, 0] == got[0, 1] < got[0, 2]


@pytest.mark.parametrize("edges", [(0, 0, 0, 0), (9, 2, 1, 30), (50, 60, 1, 30)])
def test_shutter_that_leaves_nothing_is_refused(tmp_path: Path, edges: tuple[int, int, int, int]) -> None:
    elements = {keyword: str(edge) for keyword, edge in zip(SHUTTER, edges, strict=True)}
    with pytest.raises(ImageError, match="ShutterShape leaves nothing of the film"):
        read_film(saved(film_dataset(ramp(), ShutterShape="RECTANGULAR", **elements), tmp_path / "a.dcm"))


def test_padding_with_bits_above_those_stored_is_known(tmp_path: Path) -> None:
    pixels = np.array([[500, 3000, 0xFFFF]], dtype=np.uint16)
    got = read_film(saved(film_dataset(pixels, PixelPaddingValue=0xFFFF), tmp_path / "a.dcm")).pixels
    assert got[0, 2] == got[0, 0] < got[0, 1]


def test_only_padding_is_black(tmp_path: Path) -> None:
    pixels = np.full((4, 5), 4095, np.uint16)
    assert not read_film(saved(film_dataset(pixels, PixelPaddingValue=4095), tmp_path / "a.dcm")).pixels.any()


def test_rectangular_shutter_is_black_outside(tmp_path: Path) -> None:
    edges = {"ShutterUpperHorizontalEdge": "2", "ShutterLowerHorizontalEdge": "3", "ShutterLeftVerticalEdge": "1"}
    dataset = film_dataset(
        np.full((4, 5), 4095, np.uint16), ShutterShape="RECTANGULAR", ShutterRightVerticalEdge="4", **edges
    )
    got = read_film(saved(dataset, tmp_path / "a.dcm")).pixels
    assert (got == 65535).tolist() == [[False] * 5, [True] * 4 + [False], [True] * 4 + [False], [False] * 5]


@pytest.mark.parametrize("more", [2, 4, 59, 126, 4096])
def test_zeros_after_the_pixels_are_ignored_with_a_warning(tmp_path: Path, more: int) -> None:
    film = read_film(
        saved(film_dataset(ramp(), PixelData=ramp().tobytes() + bytes(more + more % 2)), tmp_path / "a.dcm")
    )
    assert film.remarks == ("trailing_bytes",)
    assert np.array_equal(film.pixels, read_film(saved(film_dataset(ramp()), tmp_path / "b.dcm")).pixels)


def test_rows_that_are_too_few_are_no_trailing_bytes(tmp_path: Path) -> None:
    for rows in (39, 20):
        with pytest.raises(ImageError, match=r"a\.dcm: its header says .* but its pixel data has 2400"):
            read_film(saved(film_dataset(ramp(), Rows=rows), tmp_path / "a.dcm"))


def test_groups_that_contradict_the_header_are_refused(tmp_path: Path) -> None:
    dataset = in_groups(
        film_dataset(ramp(), WindowCenter="7", WindowWidth="9"), {}, {"WindowCenter": "8", "WindowWidth": "9"}, "own"
    )
    with pytest.raises(ImageError, match="WindowCenter in its functional groups contradicts that of its header"):
        read_film(saved(dataset, tmp_path / "a.dcm"))


def test_own_group_goes_before_the_shared_one(tmp_path: Path) -> None:
    dataset = in_groups(film_dataset(ramp()), {}, {"WindowCenter": "2048", "WindowWidth": "1001"}, "own")
    dataset = in_groups(dataset, {}, {"WindowCenter": "10", "WindowWidth": "20"}, "shared")
    plain = film_dataset(ramp(), WindowCenter="2048", WindowWidth="1001")
    got = read_film(saved(dataset, tmp_path / "a.dcm")).pixels
    assert np.array_equal(got, read_film(saved(plain, tmp_path / "b.dcm")).pixels)


def test_several_frames_in_groups_are_refused(tmp_path: Path) -> None:
    dataset = in_groups(film_dataset(ramp()), {}, {"WindowCenter": "2048", "WindowWidth": "1001"}, "own")
    dataset.PerFrameFunctionalGroupsSequence.append(Dataset())
    with pytest.raises(ImageError, match="functional groups of one frame, got 2"):
        read_film(saved(dataset, tmp_path / "a.dcm"))


BY_DCMTK: dict[str, dict[str, Any]] = {
    "plain": {},
    "inverted": {"kind": "MONOCHROME1"},
    "shape alone": {"PresentationLUTShape": "INVERSE"},
    "window": {"WindowCenter": "2000", "WindowWidth": "1500"},
    "inverted window": {"kind": "MONOCHROME1", "WindowCenter": "900", "WindowWidth": "700"},
    "sigmoid": {"WindowCenter": "2000", "WindowWidth": "900", "VOILUTFunction": "SIGMOID"},
    "rescale and window": {
        "RescaleSlope": "2",
        "RescaleIntercept": "-500",
        "WindowCenter": "3000",
        "WindowWidth": "2500",
    },
    "table": {"VOILUTSequence": table((np.linspace(0, 1, 4096) ** 2 * 4095).astype(np.uint16), 0, 12, "OW")},
    "table from 1000": {"VOILUTSequence": table(np.linspace(4095, 0, 2000).astype(np.uint16), 1000, 12, "US")},
    "modality table": {"ModalityLUTSequence": table(np.linspace(4095, 0, 4096).astype(np.uint16), 0, 12, "OW")},
    "high bit 15": {"HighBit": 15},
}


@pytest.mark.skipif(shutil.which("dcm2pnm") is None, reason="Debian's dcmtk is not installed (apt-get install dcmtk)")
@pytest.mark.parametrize(("name", "elements"), BY_DCMTK.items(), ids=BY_DCMTK)
def test_dcmtk_shows_the_same(tmp_path: Path, name: str, elements: dict[str, Any]) -> None:
    pixels = ramp() << 4 if name == "high bit 15" else ramp()
    path = saved(film_dataset(pixels, **elements), tmp_path / "a.dcm")
    full_range = ["+Ww", "2048", "4096"]  # (x - 2047.5) / 4095 + 0.5: without a window dcm2pnm stretches what it finds
    choice = (
        ["+Wl", "1"] if "VOILUTSequence" in elements else ["+Wi", "1"] if "WindowCenter" in elements else full_range
    )
    subprocess.run(["dcm2pnm", *choice, "+opw", str(path), str(tmp_path / "a.pgm")], check=True, capture_output=True)
    by_dcmtk = np.asarray(Image.open(tmp_path / "a.pgm")).astype(float) / 65535
    got = read_film(path).pixels / 65535
    # dcmtk rounds in between: a step of the 12-bit pixels at most.
    assert np.abs(got - by_dcmtk).max() <= 1.5 / 4095


def test_table_of_attributes_is_whole() -> None:
    names = [keyword for rules in DISPLAY_RULES.values() for keyword in rules]
    assert len(names) == len(set(names))
    described = [rule for rules in DISPLAY_RULES.values() for rule in rules.values()]
    assert all(section.startswith("PS3.") and what for what, section in described)
    assert {"WindowCenter", "PixelPaddingValue", "SharedFunctionalGroupsSequence", "PixelData"} <= set(READ)


NO_FILMS = {
    "1.2.840.10008.5.1.4.1.1.88.50": "DICOM structured report",
    "1.2.840.10008.5.1.4.1.1.11.1": "DICOM presentation state",
    "1.2.840.10008.5.1.4.1.1.104.1": "encapsulated document (DICOM)",
    "1.2.840.10008.5.1.4.1.1.66.4": "DICOM segmentation or registration",
}


@pytest.mark.parametrize(("uid", "kind"), NO_FILMS.items())
def test_objects_without_an_image_are_known_by_kind(tmp_path: Path, uid: str, kind: str) -> None:
    without = dict.fromkeys(("Rows", "Columns", "PixelData", "PhotometricInterpretation", "BitsStored"))
    dataset = film_dataset(ramp(), **without)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid
    assert kind_of(saved(dataset, tmp_path / "IM0")) == kind
    dataset.Rows = 3  # segmentations and doses have rows too
    assert kind_of(saved(dataset, tmp_path / "IM0")) == kind
    assert kind_of(saved(film_dataset(ramp()), tmp_path / "IM1")) == FILM
