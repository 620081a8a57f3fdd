"""Extreme images: tiny, huge by declaration, of one value, bombs. Each ends in a film or in one clear line."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom.uid as uids
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from mammo.errors import ImageError
from mammo.images.decode import read_film
from mammo.images.film import Film
from mammo.images.preprocess import PreprocessSettings, prepare_film, prepare_lesion
from mammo.images.sandbox.decode import read_untrusted_film
from tests.images.dicom_files import film_dataset, saved
from tests.images.lossless_twins import encapsulated

FILM = PreprocessSettings(task="film", image_size=(64, 48), context=2.0, margin=1.3, intensity="percentile")
LESION = FILM.model_copy(update={"task": "lesion"})
Reader = Callable[[Path], Film]
either = pytest.mark.parametrize("read", [read_film, read_untrusted_film], ids=["here", "sandbox"])


def png_header(width: int, height: int, *, bits: int = 8) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def jpeg_of_declared_size(path: Path, width: int, height: int) -> None:
    Image.new("L", (16, 16)).save(path)
    content = path.read_bytes()
    frame = content.index(b"\xff\xc0")
    path.write_bytes(content[: frame + 5] + struct.pack(">HH", height, width) + content[frame + 9 :])


def declared_60000(folder: Path) -> dict[str, Path]:
    paths = {kind: folder / f"a.{kind}" for kind in ("dcm", "png", "jpg", "pgm")}
    saved(film_dataset(np.zeros((4, 4), np.uint16), Rows=60000, Columns=60000), paths["dcm"])
    paths["png"].write_bytes(png_header(60000, 60000))
    jpeg_of_declared_size(paths["jpg"], 60000, 60000)
    paths["pgm"].write_bytes(b"P5\n60000 60000\n255\n" + bytes(1000))
    return paths


@either
@pytest.mark.parametrize("kind", ["dcm", "png", "jpg", "pgm"])
def test_60000_pixels_a_side_are_refused(tmp_path: Path, kind: str, read: Reader) -> None:
    with pytest.raises(ImageError, match=rf"a\.{kind}: .*(60000 × 60000 pixels, more than|more pixels than)"):
        read(declared_60000(tmp_path)[kind])


def test_png_bomb_of_20000_squared_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    with path.open("wb") as file:
        packer = zlib.compressobj(9)
        body = b"".join(packer.compress(bytes(20001)) for _ in range(20000)) + packer.flush()
        header = struct.pack(">IIBBBBB", 20000, 20000, 8, 0, 0, 0, 0)
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
            file.write(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content)))
    assert path.stat().st_size < 500_000
    with pytest.raises(ImageError, match=r"bomb\.png: .*(would become 400000000|more pixels than)"):
        read_film(path)


def test_png_of_too_high_a_ratio_is_refused(tmp_path: Path) -> None:
    # 13,000 × 13,000 = 169 million pixels: below Pillow's bound of 179 million, above 200 times the file's few bytes.
    (tmp_path / "a.png").write_bytes(png_header(13000, 13000))
    with pytest.raises(ImageError, match=r"a\.png: \d+ bytes would become 169000000, more than 200 times"):
        read_film(tmp_path / "a.png")


def test_compressed_dicom_of_too_high_a_ratio_is_refused(tmp_path: Path) -> None:
    dataset = film_dataset(np.zeros((64, 64), np.uint16), Rows=20000, Columns=20000)
    path = saved(encapsulated(dataset, b"\xff\x4f\xff\x51" + bytes(500), uids.JPEG2000Lossless), tmp_path / "a.dcm")
    with pytest.raises(ImageError, match=r"a\.dcm: \d+ bytes would become 800000000"):
        read_film(path)


def test_blank_film_of_usual_size_is_no_bomb(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5000, 4000), np.uint16)).save(tmp_path / "blank.png")
    assert (tmp_path / "blank.png").stat().st_size * 200 < 5000 * 4000 * 2  # a ratio that larger images are refused for
    assert read_film(tmp_path / "blank.png").pixels.shape == (5000, 4000)


def one_pixel(folder: Path) -> dict[str, Path]:
    paths = {kind: folder / f"a.{kind}" for kind in ("dcm", "png", "jpg", "pgm")}
    saved(film_dataset(np.full((1, 1), 4095, np.uint16)), paths["dcm"])
    for kind in ("png", "jpg"):
        Image.fromarray(np.full((1, 1), 255, np.uint8)).save(paths[kind])
    paths["pgm"].write_bytes(b"P5\n1 1\n255\n\xff")
    return paths


@either
@pytest.mark.parametrize("kind", ["dcm", "png", "jpg", "pgm"])
def test_one_pixel_is_read_and_prepared(tmp_path: Path, kind: str, read: Reader) -> None:
    film = read(one_pixel(tmp_path)[kind])
    assert film.pixels.tolist() == [[65535]]
    assert prepare_film(film, FILM).pixels.shape == FILM.stored_size
    assert (prepare_lesion(film, (0.0, 0.0, 1.0, 1.0), LESION).pixels == 65535).all()


@either
@pytest.mark.parametrize("value", [0, 1, 2048, 4095])
def test_film_of_one_value_is_read_and_prepared(tmp_path: Path, value: int, read: Reader) -> None:
    film = read(saved(film_dataset(np.full((60, 40), value, np.uint16)), tmp_path / "a.dcm"))
    shown = round(value / 4095 * 65535)
    assert (film.pixels == shown).all()
    assert (prepare_film(film, FILM).pixels[32, :40] == shown).all()


PICTURES = {
    "colour": (Image.new("RGB", (9, 7), (255, 0, 0)), 76 * 257),  # 0.299 · 255
    "8 bits": (Image.new("L", (9, 7), 100), 100 * 257),
    "opaque alpha": (Image.new("RGBA", (9, 7), (100, 100, 100, 255)), 100 * 257),
    "palette": (Image.new("P", (9, 7), 0), 0),
}


@either
@pytest.mark.parametrize("name", PICTURES)
def test_picture_of_another_form_becomes_gray(tmp_path: Path, name: str, read: Reader) -> None:
    picture, value = PICTURES[name]
    picture.save(tmp_path / "a.png")
    pixels = read(tmp_path / "a.png").pixels
    assert pixels.shape == (7, 9)
    assert (pixels == value).all()


@either
def test_transparent_picture_is_refused(tmp_path: Path, read: Reader) -> None:
    Image.new("RGBA", (9, 7), (100, 100, 100, 0)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: expected an opaque image"):
        read(tmp_path / "a.png")


@either
@pytest.mark.parametrize(
    ("orientation", "corner"), [(1, (0, 0)), (2, (0, 8)), (3, (6, 8)), (4, (6, 0)), (6, (0, 6)), (8, (8, 0))]
)
def test_exif_rotation_is_undone(tmp_path: Path, orientation: int, corner: tuple[int, int], read: Reader) -> None:
    """The stored top left pixel moves to where Exif 2.32 (tag 0x0112) puts row 0 and column 0."""
    pixels = np.zeros((7, 9), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    shown = read(tmp_path / "a.png").pixels
    assert np.argwhere(shown == 65535).tolist() == [list(corner)]


@either
def test_8_bit_colour_dicom_is_refused(tmp_path: Path, read: Reader) -> None:
    path = saved(
        film_dataset(np.zeros((4, 12), np.uint8), bits=8, SamplesPerPixel=3, Columns=4, kind="RGB"), tmp_path / "a.dcm"
    )
    with pytest.raises(ImageError, match=r"a\.dcm: expected PhotometricInterpretation MONOCHROME1 or MONOCHROME2"):
        read(path)


def test_frames_hidden_in_encapsulated_data_are_refused(tmp_path: Path) -> None:
    dataset = film_dataset(np.zeros((64, 64), np.uint16))
    dataset.compress(uids.RLELossless)
    dataset.NumberOfFrames = 3
    dataset.PixelData = encapsulate([b"\0" * 64] * 3)
    with pytest.raises(ImageError, match="expected one frame, got NumberOfFrames 3"):
        read_film(saved(dataset, tmp_path / "a.dcm"))
