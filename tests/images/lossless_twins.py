"""Writes one array as DICOM files of the same pixels in every lossless form: transfer syntaxes, MONOCHROME1, high bits.

Writers: pydicom (RLE), pyjpegls, pylibjpeg-openjpeg, `jpeg_lossless.py`, and imagecodecs for HTJ2K if it is installed
(OpenJPEG reads HTJ2K and does not write it).
"""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom.uid as uids
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate

from tests.images.dicom_files import film_dataset, saved
from tests.images.jpeg_lossless import encode_jpeg_lossless

Writer = Callable[[FileDataset, np.ndarray, int], FileDataset]


def write_twins(pixels: np.ndarray, folder: Path, *, bits: int = 12) -> dict[str, Path]:
    """Write an image in all forms that can be written here.

    Args:
        pixels: uint16 [height, width], below 2^bits, at least 64 pixels a side (OpenJPEG writes no smaller ones).
        folder: For the files; created if it is missing.
        bits: BitsStored, 9 to 16 (compressed files of 8 bits have 8 allocated, too).

    Returns:
        The file of each form; `explicit` is the plain one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, write in TWINS.items():
        dataset = write(film_dataset(pixels, bits=bits), pixels, bits)
        syntax = dataset.file_meta.TransferSyntaxUID
        how = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
        paths[name] = saved(dataset, folder / f"{name}.dcm", **how)
    return paths


def _raw(syntax: uids.UID) -> Writer:
    def write(dataset: FileDataset, pixels: np.ndarray, bits: int) -> FileDataset:
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == uids.ExplicitVRBigEndian:
            dataset.PixelData = pixels.astype(">u2").tobytes()
            dataset.set_original_encoding(False, False)
        return dataset

    return write


def _compressed(syntax: uids.UID) -> Writer:
    def write(dataset: FileDataset, pixels: np.ndarray, bits: int) -> FileDataset:
        dataset.compress(syntax)
        return dataset

    return write


def _jpeg(syntax: uids.UID, predictor: int) -> Writer:
    def write(dataset: FileDataset, pixels: np.ndarray, bits: int) -> FileDataset:
        return encapsulated(dataset, encode_jpeg_lossless(pixels, bits=bits, predictor=predictor), syntax)

    return write


def _htj2k(dataset: FileDataset, pixels: np.ndarray, bits: int) -> FileDataset:
    from imagecodecs import htj2k_encode

    return encapsulated(dataset, htj2k_encode(pixels, reversible=True), uids.HTJ2KLossless)


def encapsulated(dataset: FileDataset, codestream: bytes, syntax: uids.UID) -> FileDataset:
    """Put a codestream in place of the pixels."""
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _monochrome1(dataset: FileDataset, pixels: np.ndarray, bits: int) -> FileDataset:
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.PixelData = ((1 << bits) - 1 - pixels).astype(np.uint16).tobytes()
    return dataset


def with_high_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Fill the bits above `bits` of uint16 pixels with noise, as an overlay in them would."""
    noise = np.random.default_rng(0).integers(0, 1 << 16 - bits, pixels.shape)
    return (pixels | noise << bits).astype(np.uint16)


def _high_bits(dataset: FileDataset, pixels: np.ndarray, bits: int) -> FileDataset:
    dataset.PixelData = with_high_bits(pixels, bits).tobytes()
    return dataset


TWINS: dict[str, Writer] = {
    "explicit": _raw(uids.ExplicitVRLittleEndian),
    "implicit": _raw(uids.ImplicitVRLittleEndian),
    "big_endian": _raw(uids.ExplicitVRBigEndian),
    "deflated": _raw(uids.DeflatedExplicitVRLittleEndian),
    "rle": _compressed(uids.RLELossless),
    "jpeg_ls": _compressed(uids.JPEGLSLossless),
    "jpeg_2000": _compressed(uids.JPEG2000Lossless),
    "jpeg_lossless_sv1": _jpeg(uids.JPEGLosslessSV1, 1),
    "jpeg_lossless_p14": _jpeg(uids.JPEGLossless, 6),
    "monochrome1": _monochrome1,
    "high_bits": _high_bits,
}
if find_spec("imagecodecs"):
    TWINS["htj2k"] = _htj2k
