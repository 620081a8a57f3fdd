"""One image in every lossless form gives the same displayed pixels, in this process and in the sandboxed decoder."""

import base64
from pathlib import Path

import numpy as np
import pydicom.uid as uids
import pytest

from mammo.images.decode import read_film, read_pixels
from mammo.images.sandbox.decode import read_untrusted_film
from tests.images.dicom_files import film_dataset, saved
from tests.images.jpeg_lossless import encode_jpeg_lossless
from tests.images.lossless_twins import TWINS, encapsulated, with_high_bits, write_twins
from tests.images.test_real_dicom import needs_extra

# numpy: (np.add.outer(np.arange(20), np.arange(24) * 5) * 29 % 4096), written once by OpenJPH (imagecodecs 2026.3.6).
HTJ2K = base64.b64decode(
    "/0//UQApQAAAAAAYAAAAFAAAAAAAAAAAAAAAGAAAABQAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCIkJCQkJCQkJ"
    "CQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAKMAAf+TwAAmx/QFB3QAwAATQAASgGrzA4d0ALYCB3QAwAATQAARgKWl"
    "AQt0ABIzAMAAFVAABMAqVUmlgo/ii3YA/38Dd1QAwAAVsAAFcIoUKVKk6NyCOnICdwCAgICAgID0EN4hAb64AMAALTgABa4gICAgICAgICAg8/"
    "p6enpxgnkAOMYYY4wxxvj/TAAAHv2AAHv2AAHsvwD/2Q=="
)


def textured(bits: int) -> np.ndarray:
    """uint16 [70, 66]: a random walk, and rows of noise over the whole range."""
    random = np.random.default_rng(bits)
    steps = np.cumsum(random.integers(-30, 31, (70, 66)), axis=1) + (1 << bits - 1)
    steps[3:9] = random.integers(0, 1 << bits, (6, 66))
    return steps.clip(0, (1 << bits) - 1).astype(np.uint16)


def forms() -> list[object]:
    return [pytest.param(name, marks=needs_extra if "jpeg_lossless" in name else ()) for name in TWINS]


@pytest.fixture(scope="module", params=[10, 12, 16])
def twins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Path]]:
    return request.param, write_twins(textured(request.param), tmp_path_factory.mktemp("twins"), bits=request.param)


@pytest.mark.parametrize("name", forms())
def test_twin_shows_the_same_film(twins: tuple[int, dict[str, Path]], name: str) -> None:
    bits, paths = twins
    expected = np.rint(textured(bits) / ((1 << bits) - 1) * 65535).astype(np.uint16)
    assert np.array_equal(read_film(paths[name]).pixels, expected)
    assert np.array_equal(read_untrusted_film(paths[name]).pixels, expected)


@needs_extra
@pytest.mark.parametrize("predictor", range(1, 8))
def test_every_predictor_of_lossless_jpeg_is_read(tmp_path: Path, predictor: int) -> None:
    pixels = textured(16)
    dataset = encapsulated(
        film_dataset(pixels, bits=16), encode_jpeg_lossless(pixels, bits=16, predictor=predictor), uids.JPEGLossless
    )
    assert np.array_equal(read_pixels(saved(dataset, tmp_path / "a.dcm")), pixels)


def test_htj2k_of_another_writer_is_read(tmp_path: Path) -> None:
    pixels = (np.add.outer(np.arange(20), np.arange(24) * 5) * 29 % 4096).astype(np.uint16)
    path = saved(encapsulated(film_dataset(pixels), HTJ2K, uids.HTJ2KLossless), tmp_path / "a.dcm")
    assert np.array_equal(read_pixels(path), pixels)
    assert np.array_equal(read_untrusted_film(path).pixels, read_film(path).pixels)


@pytest.mark.parametrize(
    "syntax", [uids.ExplicitVRLittleEndian, uids.RLELossless, uids.JPEGLSLossless], ids=lambda syntax: syntax.keyword
)
@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_bits_stored_are_no_part_of_the_image(tmp_path: Path, syntax: uids.UID, signed: bool) -> None:
    """Signed values get their sign from bit 11, whatever is above it."""
    clean = (textured(12).astype(np.int32) - 2048).astype(np.int16) if signed else textured(12)
    dataset = film_dataset(with_high_bits(clean.view(np.uint16) & 0x0FFF, 12).view(clean.dtype))
    if syntax.is_compressed:
        dataset.BitsStored, dataset.HighBit = 16, 15  # so that the writer keeps them
        dataset.compress(syntax)
        dataset.BitsStored, dataset.HighBit = 12, 11
    assert np.array_equal(read_pixels(saved(dataset, tmp_path / "a.dcm")), clean)
