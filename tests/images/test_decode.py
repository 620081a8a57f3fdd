"""PNG, JPEG and PGM, files that are no image, and masks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mammo.errors import ImageError
from mammo.images.decode import read_film, read_pixels
from mammo.images.geometry import looks_like_mask, mask_from
from tests.shared_data import SHARED, needs

GRAY8 = np.arange(256, dtype=np.uint8).reshape(16, 16)
GRAY16 = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)[:, :12]


def written(image: Image.Image, path: Path, **how: Any) -> Path:
    image.save(path, **how)
    return path


def test_png_of_8_bits_reaches_white(tmp_path: Path) -> None:
    film = read_film(written(Image.fromarray(GRAY8), tmp_path / "a.png"))
    assert (film.bits, film.pixels.dtype) == (8, np.uint16)
    assert film.pixels[0, :3].tolist() == [0, 257, 514]
    assert film.pixels[-1, -1] == 65535


def test_png_of_16_bits_stays(tmp_path: Path) -> None:
    film = read_film(written(Image.fromarray(GRAY16), tmp_path / "a.png"))
    assert film.bits == 16
    assert np.array_equal(film.pixels, GRAY16)


def test_pgm_of_8_and_16_bits(tmp_path: Path) -> None:
    small, large = tmp_path / "a.pgm", tmp_path / "b.pgm"
    small.write_bytes(b"P5\n3 1\n255\n" + bytes([0, 1, 255]))
    large.write_bytes(b"P5\n3 1\n65535\n" + np.array([0, 1, 65535], dtype=">u2").tobytes())
    assert read_film(small).pixels.tolist() == [[0, 257, 65535]]
    assert (read_film(large).pixels.tolist(), read_film(large).bits) == ([[0, 1, 65535]], 16)


def test_maximum_of_a_pgm_is_white(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n3 1\n4095\n" + np.array([0, 1, 4095], dtype=">u2").tobytes())
    assert read_film(path).pixels.tolist() == [[0, 16, 65535]]


def test_gray_jpeg_comes_out_as_pillow_decodes_it(tmp_path: Path) -> None:
    path = written(Image.fromarray(np.full((8, 8), 100, dtype=np.uint8)), tmp_path / "a.jpg", quality=95)
    assert np.unique(read_pixels(path)).tolist() == [100]


def test_colour_of_equal_channels_is_its_gray(tmp_path: Path) -> None:
    path = written(Image.fromarray(np.stack([GRAY8] * 3, axis=-1)), tmp_path / "a.png")
    assert np.array_equal(read_pixels(path), GRAY8)


def test_colour_becomes_luminance(tmp_path: Path) -> None:
    path = written(Image.new("RGB", (2, 2), (255, 0, 0)), tmp_path / "a.png")
    assert read_pixels(path)[0, 0] == 76  # 0.299 · 255, ITU-R BT.601


def test_opaque_alpha_is_dropped(tmp_path: Path) -> None:
    path = written(Image.merge("LA", (Image.fromarray(GRAY8), Image.new("L", (16, 16), 255))), tmp_path / "a.png")
    assert np.array_equal(read_pixels(path), GRAY8)


def test_transparency_raises(tmp_path: Path) -> None:
    path = written(Image.merge("LA", (Image.fromarray(GRAY8), Image.new("L", (16, 16), 254))), tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: expected an opaque image"):
        read_film(path)


def test_cmyk_raises(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="got colour mode CMYK"):
        read_film(written(Image.new("CMYK", (8, 8)), tmp_path / "a.jpg"))


def test_one_bit_png_is_black_and_white(tmp_path: Path) -> None:
    path = written(Image.fromarray(GRAY8 > 127), tmp_path / "a.png")
    assert np.array_equal(read_pixels(path), np.where(GRAY8 > 127, 255, 0))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_exif_rotation_is_honoured(tmp_path: Path, name: str) -> None:
    pixels = np.zeros((16, 32), dtype=np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # the stored left edge is displayed at the top
    shown = read_pixels(written(Image.fromarray(pixels), tmp_path / name, exif=exif))
    assert shown.shape == (32, 16)
    assert (shown[:8] > 250).all()
    assert (shown[8:] < 5).all()


def test_animation_raises(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), value) for value in (0, 100, 200)]
    path = written(frames[0], tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="expected one picture"):
        read_film(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.pgm"])
def test_truncated_picture_raises(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = written(Image.fromarray(noise), tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=rf"{name}: damaged or cut short"):
        read_film(path)


def test_picture_with_too_long_a_side_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5\n40000 1\n255\n" + bytes(40000))
    with pytest.raises(ImageError, match="40000 × 1 pixels, more than the 30000 per side"):
        read_film(path)


def test_deep_colour_png_raises(tmp_path: Path) -> None:
    path = written(Image.new("RGB", (4, 4)), tmp_path / "a.png")
    content = bytearray(path.read_bytes())
    content[24] = 16
    path.write_bytes(content)
    with pytest.raises(ImageError, match="16-bit colour"):
        read_film(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"hello, this is no image at all" * 9, "expected DICOM, PNG .* or PGM, got a file of unknown kind"),
        (b"II*\0" + bytes(500), "damaged or cut short"),
        (b"II+\0" + bytes(500), "got a BigTIFF file"),
        (b"GIF89a" + bytes(500), "got a GIF file"),
        (b"\x08\x00\x05\x00" + b"\x07" * 300, "damaged|without pixel data|expected PhotometricInterpretation"),
    ],
)
def test_other_content_raises(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "thing.dcm"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=rf"thing\.dcm: .*({message})"):
        read_film(path)


def test_missing_file_and_folder_raise(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"none\.png: does not exist"):
        read_film(tmp_path / "none.png")
    with pytest.raises(ImageError, match="is not a regular file"):
        read_film(tmp_path)


def test_content_counts_and_not_the_name(tmp_path: Path) -> None:
    assert np.array_equal(read_pixels(written(Image.fromarray(GRAY8), tmp_path / "a.dcm", format="PNG")), GRAY8)


def disc(size: int = 200, radius: int = 20) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return ((rows - 60) ** 2 + (columns - 90) ** 2 <= radius**2).astype(np.uint8) * 255


def test_two_values_are_a_mask() -> None:
    assert looks_like_mask(disc())
    assert looks_like_mask(disc().astype(np.uint16) * 257)


def test_mask_survives_jpeg(tmp_path: Path) -> None:
    stored = read_pixels(written(Image.fromarray(disc()), tmp_path / "mask.jpg", quality=75))
    assert len(np.unique(stored)) > 2
    assert looks_like_mask(stored)
    assert np.mean(mask_from(stored) != (disc() > 0)) < 0.001


@pytest.mark.parametrize("value", [0, 255])
def test_constant_image_is_no_mask(value: int) -> None:
    assert not looks_like_mask(np.full((9, 9), value, dtype=np.uint8))


def test_gray_images_are_no_masks() -> None:
    assert not looks_like_mask(GRAY8)
    assert not looks_like_mask(GRAY16)


def test_mask_of_a_constant_image() -> None:
    assert not mask_from(np.zeros((3, 3), dtype=np.uint8)).any()
    assert mask_from(np.full((3, 3), 255, dtype=np.uint8)).all()


@needs("cbis_ddsm_mass_800")
def test_real_films_are_no_masks() -> None:
    for path in sorted((SHARED / "cbis_ddsm_mass_800" / "train").glob("*.jpg"))[::100]:
        assert not looks_like_mask(read_pixels(path))
