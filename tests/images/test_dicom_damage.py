"""Damaged, contradictory and malicious DICOM files: each is one line of error, without any text of the header."""

import logging
import struct
import zlib
from collections.abc import Iterable, Iterator
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.uid as uids
import pytest
from pydicom.encaps import encapsulate, generate_frames

from mammo.errors import ImageError
from mammo.images.decode import read_film
from mammo.images.dicom_walk import MAX_ELEMENTS, MAX_INFLATED_BYTES, MAX_NESTING, check_structure
from tests.images.dicom_files import film_dataset, ramp, saved

REFUSED = {
    "rows too small": ({"Rows": 20}, "says 30 × 20 pixels of 2 bytes, 1200 bytes in all, but its pixel data has 2400"),
    "rows too large": ({"Rows": 41}, "2460 bytes in all, but its pixel data has 2400"),
    "huge": ({"Rows": 65535, "Columns": 65535}, "65535 × 65535 pixels, more than the 30000 per side"),
    "no rows": ({"Rows": 0}, "an image has at least one"),
    "missing rows": ({"Rows": None}, "Rows is missing"),
    "missing kind": ({"PhotometricInterpretation": None}, "PhotometricInterpretation is missing"),
    "missing bits": ({"BitsStored": None}, "BitsStored is missing"),
    "no pixels": ({"PixelData": None}, "without pixel data"),
    "empty pixels": ({"PixelData": b""}, "without pixel data"),
    "frames": ({"NumberOfFrames": "2"}, "expected one frame, got NumberOfFrames 2"),
    "colour": ({"SamplesPerPixel": 3}, "got SamplesPerPixel 3"),
    "palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "expected PhotometricInterpretation MONOCHROME1"),
    "wide": ({"BitsAllocated": 32}, "got BitsAllocated 32"),
    "too many bits": ({"BitsStored": 17}, "BitsStored 17"),
    "low high bit": ({"HighBit": 10}, "HighBit 10 does not fit BitsStored 12 and BitsAllocated 16: expected 11 to 15"),
    "high high bit": ({"HighBit": 16}, "HighBit 16 does not fit"),
    "flat rescale": ({"RescaleSlope": "0", "RescaleIntercept": "5"}, "RescaleSlope is 0"),
}


@pytest.mark.parametrize(("elements", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_contradicting_header_raises(tmp_path: Path, elements: dict[str, Any], message: str) -> None:
    path = saved(film_dataset(ramp(), **elements), tmp_path / "odd.dcm")
    with pytest.raises(ImageError, match=rf"odd\.dcm: .*{message}") as caught:
        read_film(path)
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_rows_that_are_no_number_raise(tmp_path: Path) -> None:
    path = saved(film_dataset(ramp()), tmp_path / "a.dcm")
    rows = struct.pack("<HH2sHH", 0x28, 0x10, b"US", 2, 40)
    assert path.read_bytes().count(rows) == 1
    path.write_bytes(path.read_bytes().replace(rows, rows[:4] + b"SH" + rows[6:8] + b"xy"))
    with pytest.raises(ImageError, match="expected a whole number as Rows"):
        read_film(path)


def test_compressed_size_other_than_rows_raises(tmp_path: Path) -> None:
    dataset = film_dataset(ramp())
    dataset.compress(uids.JPEGLSLossless)
    dataset.Rows = 39
    with pytest.raises(ImageError, match="its header says 30 × 39 pixels, its compressed data 30 × 40"):
        read_film(saved(dataset, tmp_path / "a.dcm"))


@pytest.fixture
def root_log() -> Iterator[list[logging.LogRecord]]:
    """The records that a program gets when it logs everything from INFO on (pytest's caplog gets more)."""
    handler = BufferingHandler(10**6)
    handler.setLevel(logging.INFO)
    logging.getLogger().addHandler(handler)
    yield handler.buffer
    logging.getLogger().removeHandler(handler)


def test_garbage_in_compressed_pixels_raises_and_logs_nothing(
    tmp_path: Path, root_log: list[logging.LogRecord]
) -> None:
    dataset = film_dataset(ramp())
    dataset.compress(uids.RLELossless)
    dataset.PixelData = encapsulate([b"\xff" * 200])
    with pytest.raises(ImageError, match="damaged RLE Lossless pixel data"):
        read_film(saved(dataset, tmp_path / "a.dcm"))
    assert not root_log


def test_unknown_transfer_syntax_raises(tmp_path: Path) -> None:
    dataset = film_dataset(ramp())
    dataset.PixelData = encapsulate([b"\0" * 200])
    dataset.file_meta.TransferSyntaxUID = uids.MPEG2MPML
    path = saved(dataset, tmp_path / "a.dcm", implicit_vr=False, little_endian=True)
    with pytest.raises(ImageError, match=r"transfer syntax is not read \(MPEG2"):
        read_film(path)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.99])
def test_truncated_file_raises(tmp_path: Path, share: float) -> None:
    path = saved(film_dataset(ramp()), tmp_path / "short.dcm")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ImageError, match=r"short\.dcm: "):
        read_film(path)


def deflated(path: Path, blocks: Iterable[bytes], *, level: int = 1) -> Path:
    """A deflated DICOM file whose whole data set is these blocks."""
    dataset = film_dataset(ramp())
    dataset.file_meta.TransferSyntaxUID = uids.DeflatedExplicitVRLittleEndian
    content = saved(dataset, path, implicit_vr=False, little_endian=True).read_bytes()
    start = 144 + struct.unpack("<I", content[140:144])[0]
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[:start] + b"".join(packer.compress(block) for block in blocks) + packer.flush())
    return path


def test_deflate_bomb_raises(tmp_path: Path) -> None:
    path = deflated(tmp_path / "bomb.dcm", (bytes(2**20) for _ in range(600)), level=9)
    assert path.stat().st_size < 2**20
    with pytest.raises(ImageError, match=r"bomb\.dcm: \d+ bytes would become 13\d{7}, more than 200 times"):
        read_film(path)


@pytest.mark.parametrize(
    "written",
    [b" 1.2.840.10008.1.2.1.99 ", b"\n1.2.840.10008.1.2.1.99 ", b"1.2.840.10008.1.2.1.99" + b" " * 60],
    ids=["blank before", "line before", "blanks after"],
)
def test_deflate_bomb_behind_an_odd_transfer_syntax_raises(tmp_path: Path, written: bytes) -> None:
    path = deflated(tmp_path / "bomb.dcm", (bytes(2**20) for _ in range(600)), level=9)
    content = path.read_bytes()
    usual = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + b"1.2.840.10008.1.2.1.99"
    assert content.count(usual) == 1
    path.write_bytes(content.replace(usual, usual[:6] + struct.pack("<H", len(written)) + written))
    with pytest.raises(ImageError, match=r"bomb\.dcm: (\d+ bytes would become 13\d{7}|its transfer syntax is no UID)"):
        read_film(path)


def test_transfer_syntax_that_only_the_parser_sees_raises(tmp_path: Path) -> None:
    """An element of unknown kind: two bytes of length for pydicom and four for the walk, which skips what follows."""
    path = deflated(tmp_path / "bomb.dcm", [bytes(2**10)])
    usual = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + b"1.2.840.10008.1.2.1.99"
    before, after = path.read_bytes().split(usual)
    odd = struct.pack("<HH2sH", 2, 0x03, b"A~", 2) + b"1\0"
    path.write_bytes(
        before[:132] + struct.pack("<HH2sH", 2, 0x02, b"UI", 2) + b"1\0" + odd + usual + after[-60:] + bytes(2**18)
    )
    assert check_structure(path) == ""
    with pytest.raises(ImageError, match=r"bomb\.dcm: hides deflated content"):
        read_film(path)


@pytest.mark.parametrize(
    ("syntax", "at"), [(uids.JPEG2000Lossless, 40), (uids.JPEGLSLossless, None)], ids=["JPEG 2000", "JPEG-LS"]
)
def test_more_channels_in_the_compressed_data_than_one_raise(tmp_path: Path, syntax: uids.UID, at: int | None) -> None:
    dataset = film_dataset(ramp(80, 96))
    dataset.compress(syntax)
    frame = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    if at is None:
        frame[frame.index(b"\xff\xf7") + 9] = 3
    else:
        frame[at : at + 2] = (16_384).to_bytes(2, "big")
    dataset.PixelData = encapsulate([bytes(frame)])
    with pytest.raises(ImageError, match=r"a\.dcm: expected one gray channel, got compressed data of (3|16384)"):
        read_film(saved(dataset, tmp_path / "a.dcm"))


def test_deflated_content_of_fair_ratio_and_too_great_size_raises(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(2**14)
    path = deflated(
        tmp_path / "large.dcm", (noise + bytes(2**20 - len(noise)) for _ in range(MAX_INFLATED_BYTES // 2**20 + 1))
    )
    with pytest.raises(ImageError, match=r"large\.dcm: its deflated content grows past"):
        read_film(path)


def test_deflated_content_that_does_not_inflate_raises(tmp_path: Path) -> None:
    path = deflated(tmp_path / "a.dcm", [bytes(100)])
    path.write_bytes(path.read_bytes()[:-6] + b"\xff" * 6)
    with pytest.raises(ImageError, match=r"a\.dcm: .*(does not inflate|damaged)"):
        read_film(path)


def with_sequences(path: Path, depth: int) -> Path:
    """Nest sequences of undefined length in front of the pixels."""
    saved(film_dataset(ramp()), path)
    opening = struct.pack("<HH2sHI", 0x40, 0x555, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closing = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    content = path.read_bytes()
    pixels = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    path.write_bytes(content[:pixels] + opening * depth + closing * depth + content[pixels:])
    return path


@pytest.mark.parametrize("depth", [MAX_NESTING + 1, 400, 20_000])
def test_sequences_nested_too_deep_raise(tmp_path: Path, depth: int) -> None:
    with pytest.raises(ImageError, match=r"deep\.dcm: damaged DICOM file: sequences nested more than 16 deep"):
        read_film(with_sequences(tmp_path / "deep.dcm", depth))


def test_sequences_nested_as_deep_as_allowed_are_skipped(tmp_path: Path) -> None:
    film = read_film(with_sequences(tmp_path / "deep.dcm", MAX_NESTING))
    assert film.pixels.shape == ramp().shape


def test_too_many_elements_raise(tmp_path: Path) -> None:
    path = saved(film_dataset(ramp()), tmp_path / "many.dcm")
    content = path.read_bytes()
    pixels = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    path.write_bytes(
        content[:pixels] + struct.pack("<HH2sH", 0x29, 0x10, b"LO", 0) * (MAX_ELEMENTS + 1) + content[pixels:]
    )
    with pytest.raises(ImageError, match=r"many\.dcm: damaged DICOM file: more than 200000 elements"):
        read_film(path)


@pytest.mark.parametrize("length", [0xFFFFFFFE, 2**31, 2402])
def test_element_longer_than_its_file_raises(tmp_path: Path, length: int) -> None:
    path = saved(film_dataset(ramp()), tmp_path / "long.dcm")
    old, new = (struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, count) for count in (2400, length))
    assert path.read_bytes().count(old) == 1
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ImageError, match=r"long\.dcm: .*an element says it has more bytes than the file"):
        read_film(path)


def test_skipped_element_longer_than_its_file_raises(tmp_path: Path) -> None:
    """An element that is not read must not end the file before its pixels."""
    path = saved(film_dataset(ramp()), tmp_path / "long.dcm")
    content = path.read_bytes()
    pixels = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    path.write_bytes(content[:pixels] + struct.pack("<HH2sHI", 0x29, 0x1010, b"OB", 0, 2**30) + content[pixels:])
    with pytest.raises(ImageError, match=r"long\.dcm: .*an element says it has more bytes than the file"):
        read_film(path)


def test_unknown_kinds_of_value_are_skipped(tmp_path: Path) -> None:
    path = saved(film_dataset(ramp()), tmp_path / "a.dcm")
    content = path.read_bytes()
    pixels = content.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    path.write_bytes(content[:pixels] + struct.pack("<HH2sH", 0x29, 0x1010, b"QQ", 4) + b"abcd" + content[pixels:])
    assert np.array_equal(read_film(path).pixels, read_film(saved(film_dataset(ramp()), tmp_path / "b.dcm")).pixels)


def test_odd_header_values_print_nothing(
    tmp_path: Path, root_log: list[logging.LogRecord], recwarn: pytest.WarningsRecorder
) -> None:
    path = saved(film_dataset(ramp(), WindowCenter="2048", WindowWidth="1001"), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"1001", b"10_1"))
    read_film(path)
    assert not root_log
    assert not recwarn.list


def test_mutated_files_give_a_film_or_one_line(tmp_path: Path) -> None:
    content = bytearray(saved(film_dataset(ramp(12, 10)), tmp_path / "a.dcm").read_bytes())
    random, path = np.random.default_rng(0), tmp_path / "mutated.dcm"
    outcomes = []
    for _ in range(150):
        mutated = content.copy()
        for position in random.integers(0, len(content) - 240, 6):
            mutated[position] = random.integers(256)
        path.write_bytes(mutated)
        try:
            outcomes.append(str(read_film(path).pixels.dtype))
        except ImageError as error:
            outcomes.append(str(error))
    assert all(outcome == "uint16" or ("mutated.dcm: " in outcome and "\n" not in outcome) for outcome in outcomes)
    assert 0 < outcomes.count("uint16") < len(outcomes)
