"""DICOM files: what is displayed, in every transfer syntax."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.uid as uids
import pytest
from pydicom import Dataset, Sequence
from pydicom.dataelem import DataElement
from pydicom.dataset import FileDataset
from pydicom.pixels import get_encoder
from pydicom.tag import Tag

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels
from tests.images.dicom_files import film_dataset, ramp, saved


def as_film(dataset: FileDataset, folder: Path) -> np.ndarray:
    return read_film(saved(dataset, folder / "film.dcm")).pixels


def test_full_range_is_shown_without_window(tmp_path: Path) -> None:
    film = read_film(saved(film_dataset(np.array([[0, 1, 4095]], dtype=np.uint16)), tmp_path / "a.dcm"))
    assert film.pixels.tolist() == [[0, 16, 65535]]  # 1 / 4095 · 65535 = 16.004
    assert film.bits == 12


def test_eight_bits_reach_white(tmp_path: Path) -> None:
    assert as_film(film_dataset(np.array([[0, 128, 255, 7]], dtype=np.uint8), bits=8), tmp_path).tolist() == [
        [0, 128 * 257, 65535, 7 * 257]
    ]


def test_signed_pixels_start_at_their_lowest_value(tmp_path: Path) -> None:
    assert as_film(film_dataset(np.array([[-2048, -2047, 2047]], dtype=np.int16)), tmp_path).tolist() == [
        [0, 16, 65535]
    ]


def test_bits_above_bits_stored_are_ignored(tmp_path: Path) -> None:
    # PS3.5 8.1.1: they may hold an overlay. 5000 without its bit 12 is 904; 904 / 4095 · 65535 = 14467.4.
    assert as_film(film_dataset(np.array([[0, 4095, 5000]], dtype=np.uint16)), tmp_path).tolist() == [[0, 65535, 14467]]


def test_linear_window(tmp_path: Path) -> None:
    # PS3.3 C.11.2.1.2.1 with c = 2048, w = 1001: black up to 1547.5, white from 2547.5, (x - 1547.5) / 1000 between.
    pixels = np.array([[1547, 1548, 2047, 2547, 2548]], dtype=np.uint16)
    shown = as_film(film_dataset(pixels, WindowCenter="2048", WindowWidth="1001"), tmp_path)
    assert shown.tolist() == [[0, 33, 32735, 65502, 65535]]


def test_linear_exact_window(tmp_path: Path) -> None:
    # PS3.3 C.11.2.1.3.2 with c = 2000, w = 1000: (x - 1500) / 1000.
    pixels = np.array([[1500, 1750, 2500]], dtype=np.uint16)
    dataset = film_dataset(pixels, WindowCenter="2000", WindowWidth="1000", VOILUTFunction="LINEAR_EXACT")
    assert as_film(dataset, tmp_path).tolist() == [[0, 16384, 65535]]


def test_sigmoid_window(tmp_path: Path) -> None:
    # PS3.3 C.11.2.1.3.1 with c = 2000, w = 400: 1 / (1 + exp(-4 (x - c) / w)) is 0.5 at c and 0.7310586 at c + 100.
    pixels = np.array([[2000, 2100]], dtype=np.uint16)
    shown = as_film(film_dataset(pixels, WindowCenter="2000", WindowWidth="400", VOILUTFunction="SIGMOID"), tmp_path)
    assert shown.tolist() == [[32768, 47910]]


def test_window_of_width_one_is_a_step(tmp_path: Path) -> None:
    pixels = np.array([[99, 100]], dtype=np.uint16)
    assert as_film(film_dataset(pixels, WindowCenter="100", WindowWidth="1"), tmp_path).tolist() == [[0, 65535]]


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"WindowCenter": "2048", "WindowWidth": "0"}, "expected a WindowWidth at least 1"),
        ({"WindowCenter": "2048", "WindowWidth": "0.5"}, "expected a WindowWidth at least 1"),
        ({"WindowCenter": "2048", "WindowWidth": "-5", "VOILUTFunction": "SIGMOID"}, "expected a WindowWidth above 0"),
        ({"WindowCenter": "2048"}, "as many numbers in WindowCenter as in WindowWidth, got 1 and 0"),
        ({"WindowWidth": "100"}, "as many numbers in WindowCenter as in WindowWidth, got 0 and 1"),
        ({"WindowCenter": "2048", "WindowWidth": ""}, "as many numbers in WindowCenter as in WindowWidth, got 1 and 0"),
        (
            {"WindowCenter": ["2048", "5"], "WindowWidth": "100"},
            "as many numbers in WindowCenter as in WindowWidth, got 2 and 1",
        ),
        ({"WindowCenter": "2048", "WindowWidth": "100", "VOILUTFunction": "CUBIC"}, "expected VOILUTFunction LINEAR"),
        ({"RescaleSlope": "2"}, "RescaleSlope and RescaleIntercept belong together"),
        ({"RescaleIntercept": "2"}, "RescaleSlope and RescaleIntercept belong together"),
        ({"PixelPaddingRangeLimit": 7}, "PixelPaddingRangeLimit without a PixelPaddingValue"),
        (
            {"kind": "MONOCHROME1", "PresentationLUTShape": "IDENTITY"},
            "IDENTITY contradicts PhotometricInterpretation MONOCHROME1",
        ),
        ({"PresentationLUTShape": "LIN OD"}, "expected PresentationLUTShape IDENTITY or INVERSE"),
        ({"PixelRepresentation": 2}, "expected PixelRepresentation 0 or 1, got 2"),
        ({"ShutterShape": "CIRCULAR"}, "ShutterShape is not RECTANGULAR"),
        ({"ShutterShape": "RECTANGULAR"}, "ShutterShape lacks an edge"),
        ({"PixelSpacing": ["0.1", "0.2"]}, "pixels are not square .PixelSpacing."),
        ({"PixelAspectRatio": ["2", "1"]}, "pixels are not square .PixelAspectRatio."),
        ({"QualityControlImage": "YES"}, "quality-control image"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(tmp_path: Path, elements: dict[str, Any], words: str) -> None:
    with pytest.raises(ImageError, match=rf"film\.dcm: .*{words}"):
        as_film(film_dataset(ramp(), **elements), tmp_path)


@pytest.mark.parametrize("keyword", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "PixelSpacing"])
@pytest.mark.parametrize("text", [b"12,5 ", b"NaN ", b"inf ", b"wide", b"1E999 "])
def test_number_that_cannot_be_read_is_refused_by_name(tmp_path: Path, keyword: str, text: bytes) -> None:
    both = {"WindowCenter": "7777", "WindowWidth": "7777", "RescaleSlope": "7777", "RescaleIntercept": "7777"}
    elements = {**both, "PixelSpacing": ["7777", "7777"]}
    path = saved(film_dataset(ramp(), **elements), tmp_path / "film.dcm")
    text += b" " * (len(text) % 2)
    content = bytearray(path.read_bytes())
    at = content.index(tag_bytes(keyword)) + 6
    end = at + 2 + int.from_bytes(content[at : at + 2], "little")
    content[at:end] = len(text).to_bytes(2, "little") + text
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"film\.dcm: .*{keyword}"):
        read_film(path)


def tag_bytes(keyword: str) -> bytes:
    tag = Tag(keyword)
    return struct.pack("<HH", tag.group, tag.elem)


def test_first_of_several_windows_counts(tmp_path: Path) -> None:
    one = as_film(film_dataset(ramp(), WindowCenter="2048", WindowWidth="1001"), tmp_path)
    several = as_film(film_dataset(ramp(), WindowCenter=["2048", "100"], WindowWidth=["1001", "50"]), tmp_path)
    assert np.array_equal(one, several)


def test_window_applies_after_rescale(tmp_path: Path) -> None:
    # x · 2 - 100 with c = 100.5, w = 201: (2x - 100 - 100) / 200 + 0.5.
    pixels = np.array([[50, 100, 150]], dtype=np.uint16)
    dataset = film_dataset(pixels, RescaleSlope="2", RescaleIntercept="-100", WindowCenter="100.5", WindowWidth="201")
    assert as_film(dataset, tmp_path).tolist() == [[0, 32768, 65535]]


def test_negative_slope_inverts(tmp_path: Path) -> None:
    pixels = np.array([[0, 4095]], dtype=np.uint16)
    assert as_film(film_dataset(pixels, RescaleSlope="-1", RescaleIntercept="0"), tmp_path).tolist() == [[65535, 0]]


def lut(entries: list[int], first: int, bits: int) -> Sequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item.add(DataElement("LUTData", "OW", struct.pack(f"<{len(entries)}H", *entries)))
    return Sequence([item])


def test_voi_table_holds_its_ends_and_goes_before_a_window(tmp_path: Path) -> None:
    pixels = np.array([[0, 10, 11, 12, 4095]], dtype=np.uint16)
    dataset = film_dataset(pixels, VOILUTSequence=lut([0, 51, 255], 10, 8), WindowCenter="11", WindowWidth="2")
    assert as_film(dataset, tmp_path).tolist() == [[0, 0, 51 * 257, 65535, 65535]]


def test_modality_table_of_a_false_depth_reaches_white(tmp_path: Path) -> None:
    pixels = np.array([[0, 1, 2]], dtype=np.uint16)
    dataset = film_dataset(pixels, ModalityLUTSequence=lut([0, 2048, 4095], 0, 16))
    assert as_film(dataset, tmp_path).tolist() == [[0, 32776, 65535]]  # 2048 / 4095 · 65535


def test_table_shorter_than_its_descriptor_raises(tmp_path: Path) -> None:
    table = lut([0, 1, 2], 0, 12)
    table[0].LUTDescriptor = [4096, 0, 12]
    with pytest.raises(ImageError, match=r"film\.dcm: expected 4096 entries .* VOILUTSequence, got 3"):
        as_film(film_dataset(ramp(), VOILUTSequence=table), tmp_path)


@pytest.mark.parametrize(
    "window", [{}, {"WindowCenter": "2048", "WindowWidth": "1001", "VOILUTFunction": "LINEAR_EXACT"}]
)
def test_monochrome1_twin_gives_the_same_film(tmp_path: Path, window: dict[str, Any]) -> None:
    mirrored = {**window, "WindowCenter": "2047"} if window else {}  # 4095 - 2048
    twin = film_dataset(4095 - ramp(), kind="MONOCHROME1", **mirrored)
    assert np.array_equal(as_film(twin, tmp_path), as_film(film_dataset(ramp(), **window), tmp_path))


def test_masks_are_read_as_stored(tmp_path: Path) -> None:
    dataset = film_dataset(ramp(), kind="MONOCHROME1", WindowCenter="2048", WindowWidth="10")
    assert np.array_equal(read_pixels(saved(dataset, tmp_path / "mask.dcm")), ramp())


@pytest.mark.parametrize(
    "syntax", [uids.ImplicitVRLittleEndian, uids.ExplicitVRLittleEndian, uids.DeflatedExplicitVRLittleEndian]
)
def test_raw_little_endian_syntaxes_agree(tmp_path: Path, syntax: uids.UID) -> None:
    dataset = film_dataset(ramp())
    dataset.file_meta.TransferSyntaxUID = syntax
    path = saved(dataset, tmp_path / "a.dcm", implicit_vr=syntax.is_implicit_VR, little_endian=True)
    assert np.array_equal(read_pixels(path), ramp())


def test_big_endian_agrees(tmp_path: Path) -> None:
    dataset = film_dataset(ramp())
    dataset.file_meta.TransferSyntaxUID = uids.ExplicitVRBigEndian
    dataset.PixelData = ramp().astype(">u2").tobytes()
    dataset.set_original_encoding(False, False)
    path = saved(dataset, tmp_path / "a.dcm", implicit_vr=False, little_endian=False)
    assert np.array_equal(read_pixels(path), ramp())


@pytest.mark.parametrize(
    "syntax", [uids.RLELossless, uids.JPEGLSLossless, uids.JPEG2000Lossless], ids=lambda syntax: syntax.keyword
)
def test_lossless_compression_agrees(tmp_path: Path, syntax: uids.UID) -> None:
    if not get_encoder(syntax).is_available:
        pytest.skip(f"nothing installed here writes {syntax.name}")
    dataset = film_dataset(ramp(80, 64))
    dataset.compress(syntax)
    assert np.array_equal(read_pixels(saved(dataset, tmp_path / "a.dcm")), ramp(80, 64))


def test_data_set_without_preamble_is_read(tmp_path: Path) -> None:
    path = saved(film_dataset(ramp()), tmp_path / "a.dcm")
    content = path.read_bytes()
    group_length = struct.unpack("<I", content[140:144])[0]
    path.write_bytes(content[144 + group_length :])
    assert np.array_equal(read_pixels(path), ramp())
