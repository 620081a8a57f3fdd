"""Files with correct checksums but fewer pixels than their header says: missing PNG rows, damaged RLE runs."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom.uid as uids
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels
from mammo.images.dicom import rle_lengths
from mammo.images.sandbox.decode import read_untrusted_film
from tests.images.dicom_files import film_dataset, ramp, saved

HEIGHT, WIDTH = 21, 13
FILM = np.random.default_rng(0).integers(1, 65535, (HEIGHT, WIDTH)).astype(np.uint16)
# PNG 8.2, from its figure: the number of the pass that contains each pixel of a block of 8 × 8.
ADAM7 = np.array(
    [
        list(map(int, row))
        for row in ("16462646", "77777777", "56565656", "77777777", "36463646", "77777777", "56565656", "77777777")
    ]
)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    path: Path,
    rows: list[np.ndarray],
    *,
    interlaced: bool = False,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    pieces: int = 1,
) -> Path:
    """Write a 16-bit gray PNG whose header says `size` and whose data is these rows, in `pieces` chunks."""
    packed = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in rows))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 16, 0, 0, 0, int(interlaced)))
    step = -(-len(packed) // pieces)
    data = b"".join(chunk(b"IDAT", packed[start : start + step]) for start in range(0, len(packed), step))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"tEXt", b"a\0b") + data + chunk(b"IEND", b""))
    return path


def interlaced_rows(film: np.ndarray) -> list[np.ndarray]:
    height, width = film.shape
    order = np.tile(ADAM7, (-(-height // 8), -(-width // 8)))[:height, :width]
    return [
        film[row][order[row] == number]
        for number in range(1, 8)
        for row in range(height)
        if (order[row] == number).any()
    ]


@pytest.mark.parametrize("pieces", [1, 7])
def test_png_with_all_its_rows_is_read(tmp_path: Path, pieces: int) -> None:
    assert np.array_equal(read_pixels(png(tmp_path / "a.png", list(FILM), pieces=pieces)), FILM)
    below = FILM.copy()
    below[-5:] = 0
    assert np.array_equal(read_pixels(png(tmp_path / "b.png", list(below), pieces=pieces)), below)


@pytest.mark.parametrize("read", [read_film, read_untrusted_film], ids=["here", "sandbox"])
@pytest.mark.parametrize("count", [20, 10, 1])
def test_png_of_too_few_rows_is_refused(tmp_path: Path, count: int, read: object) -> None:
    assert callable(read)
    path = png(tmp_path / "a.png", list(FILM[:count]), pieces=3)
    # A row has a byte for its filter and two for each pixel (PNG 7.2): 27 × 21 = 567.
    with pytest.raises(
        ImageError,
        match=rf"a\.png: its header says 13 × 21 pixels, 567 bytes unpacked, but its pixel data has {27 * count};",
    ):
        read(path)


@pytest.mark.parametrize(("height", "width"), [(21, 13), (1, 1), (2, 3), (5, 4), (1, 9), (9, 1), (8, 8), (17, 16)])
def test_interlaced_png_needs_all_seven_passes(tmp_path: Path, height: int, width: int) -> None:
    film = np.random.default_rng(1).integers(0, 2, (height, width)).astype(np.uint16) * 40_000
    rows = interlaced_rows(film)
    assert np.array_equal(read_pixels(png(tmp_path / "a.png", rows, interlaced=True, size=(width, height))), film)
    if len(rows) > 1:
        with pytest.raises(ImageError, match=r"a\.png: (its header says|damaged or cut short)"):
            read_pixels(png(tmp_path / "a.png", rows[:-1], interlaced=True, size=(width, height)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
@pytest.mark.parametrize("width", [1, 7, 8, 64])
def test_black_picture_of_every_kind_is_read(tmp_path: Path, mode: str, width: int) -> None:
    """The last row is black, so that the data is counted, for each depth that Pillow writes."""
    black = {"LA": (0, 255), "RGBA": (0, 0, 0, 255)}.get(mode, 0)
    Image.new(mode, (width, 6), black).save(tmp_path / "a.png")
    pixels = read_pixels(tmp_path / "a.png")
    assert pixels.shape == (6, width)
    assert not pixels.any()


@pytest.mark.parametrize("colours", [2, 4, 16])
def test_black_picture_of_few_colours_is_read(tmp_path: Path, colours: int) -> None:
    """Written with 1, 2 and 4 bits a pixel."""
    picture = Image.new("P", (13, 6))
    picture.putpalette([0, 0, 0] * colours)
    picture.save(tmp_path / "a.png", bits=colours.bit_length() - 1)
    assert not read_pixels(tmp_path / "a.png").any()


def test_second_header_of_another_size_is_refused(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", list(FILM))
    content = path.read_bytes()
    second = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT + 9, 16, 0, 0, 0, 0))
    path.write_bytes(content[:33] + second + content[33:])
    with pytest.raises(ImageError, match=r"a\.png: damaged: it has several headers"):
        read_film(path)


@pytest.mark.parametrize("place", [8, 20])
def test_png_without_a_header_where_it_belongs_is_refused(tmp_path: Path, place: int) -> None:
    path = png(tmp_path / "a.png", list(FILM))
    content = path.read_bytes()
    path.write_bytes(content[:8] + chunk(b"tEXt", b"a\0b") + content[8:] if place == 8 else content[:place])
    with pytest.raises(ImageError, match=r"a\.png: damaged or cut short \(no PNG header where it belongs\)"):
        read_film(path)


def rle_frame(*segments: bytes) -> bytes:
    places = [64 + sum(map(len, segments[:number])) for number in range(len(segments))]
    return struct.pack("<16L", len(segments), *places, *[0] * (15 - len(segments))) + b"".join(segments)


def test_lengths_of_rle_segments_are_those_of_the_standard() -> None:
    """PS3.5 G.3.1: n from 0 to 127 precedes n + 1 bytes; n from -1 to -127 precedes one byte repeated 1 - n times."""
    assert rle_lengths(rle_frame(b"\x02abc" + b"\xfea" + b"\x80", b"\xffa\0")) == [3 + 3, 2]
    assert rle_lengths(rle_frame(b"\x05ab")) == [2]  # a run that the segment's end cuts
    assert rle_lengths(rle_frame(b"\x00a\xfe")) == [1]
    assert rle_lengths(rle_frame(b"")) == [0]
    assert rle_lengths(rle_frame()) == []
    assert rle_lengths(b"\xff" * 200) == []
    assert rle_lengths(b"\x01" * 10) == []


def rle_film(path: Path, change: object) -> Path:
    dataset = film_dataset(ramp(80, 96))
    dataset.compress(uids.RLELossless)
    frame = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    assert callable(change)
    dataset.PixelData = encapsulate([bytes(change(frame))])
    return saved(dataset, path)


def longer_first_run(frame: bytearray) -> bytearray:
    """Make the first run of equal bytes of the first segment thirty longer."""
    first = int.from_bytes(frame[4:8], "little")
    assert frame[first] > 128 + 30
    frame[first] -= 30
    return frame


def shorter_first_run(frame: bytearray) -> bytearray:
    first = int.from_bytes(frame[4:8], "little")
    assert 128 < frame[first] < 250
    frame[first] += 5
    return frame


def test_rle_film_is_read(tmp_path: Path) -> None:
    assert np.array_equal(read_pixels(rle_film(tmp_path / "a.dcm", lambda frame: frame)), ramp(80, 96))


@pytest.mark.parametrize("padding", [1, 2, 3, 6])
def test_rle_film_with_zeros_behind_its_last_segment_is_read(tmp_path: Path, padding: int) -> None:
    assert np.array_equal(read_pixels(rle_film(tmp_path / "a.dcm", lambda frame: frame + bytes(padding))), ramp(80, 96))


@pytest.mark.parametrize("change", [longer_first_run, shorter_first_run])
def test_rle_film_with_a_damaged_count_is_refused(tmp_path: Path, change: object) -> None:
    with pytest.raises(
        ImageError, match=r"a\.dcm: damaged RLE Lossless pixel data: a segment unpacks to 7\d\d\d bytes, expected 7680;"
    ):
        read_film(rle_film(tmp_path / "a.dcm", change))
