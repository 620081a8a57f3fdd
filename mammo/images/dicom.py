"""A DICOM file enters and is checked before it is decoded; stored values and what the header says about display leave.

No message carries header text: names, ids and dates stay in the file.
"""

import logging
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom.uid as uids
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.pixels import get_decoder, pixel_array

from mammo.errors import ImageError
from mammo.images.codestream import codestream_size, rle_lengths
from mammo.images.dicom_header import display_of, whole_number
from mammo.images.dicom_walk import DEFLATED, check_structure
from mammo.images.display import Display
from mammo.images.display_rules import READ
from mammo.images.guards import DECODER_FAULTS, check_ratio, check_size

log = logging.getLogger(__name__)

HEADER_FAULTS: tuple[type[Exception], ...] = (InvalidDicomError, BytesLengthException, *DECODER_FAULTS)
NATIVE = (
    uids.ImplicitVRLittleEndian,
    uids.ExplicitVRLittleEndian,
    uids.ExplicitVRBigEndian,
    uids.DeflatedExplicitVRLittleEndian,
)
WITH_EXTRA = 'pip install "mammo[dicom]"'
WITH_OPENJPEG = "pip install pylibjpeg pylibjpeg-openjpeg"
# Decoders in order of preference, and how to get the best one. Not listed on purpose, seen on mutated files: gdcm ends
# the process, pylibjpeg's RLE panics with a BaseException.
DECODERS: dict[str, tuple[tuple[str, ...], str]] = {
    uids.RLELossless: (("pydicom",), "pip install pydicom"),
    uids.JPEGLSLossless: (("pyjpegls", "pylibjpeg"), "pip install pyjpegls"),
    uids.JPEGLSNearLossless: (("pyjpegls", "pylibjpeg"), "pip install pyjpegls"),
    uids.JPEG2000Lossless: (("pylibjpeg", "pillow"), WITH_OPENJPEG),
    uids.JPEG2000: (("pylibjpeg", "pillow"), WITH_OPENJPEG),
    uids.HTJ2KLossless: (("pylibjpeg",), WITH_OPENJPEG),
    uids.HTJ2KLosslessRPCL: (("pylibjpeg",), WITH_OPENJPEG),
    uids.HTJ2K: (("pylibjpeg",), WITH_OPENJPEG),
    uids.JPEGBaseline8Bit: (("pillow", "pylibjpeg"), "pip install pillow"),
    uids.JPEGExtended12Bit: (("pylibjpeg",), WITH_EXTRA),
    uids.JPEGLossless: (("pylibjpeg",), WITH_EXTRA),
    uids.JPEGLosslessSV1: (("pylibjpeg",), WITH_EXTRA),
}
READERS_THAT_LOG = ("pydicom", "pylibjpeg", "openjpeg", "libjpeg")
MOST_PADDING = 8  # PS3.5 G.3.1 pads a segment with one zero byte at most; some writers do with more
MOST_TRAILING = 2**16  # zero bytes after the pixels, at most; others must be fewer than a row, or Rows may be wrong
CELLS = (*NATIVE, uids.RLELossless)  # whose pixels are cells of BitsAllocated, so that HighBit has a meaning


def looks_like_dicom(start: bytes) -> bool:
    """Tell from the first 132 bytes: `DICM` at 128, or a data set that begins at once with group 0002 or 0008."""
    return start[128:132] == b"DICM" or start[:2] in (b"\x02\0", b"\x08\0", b"\0\x08")


def read_dicom(path: Path) -> tuple[Display, np.ndarray]:
    """Decode the one frame of a DICOM image.

    Returns:
        What the header says about display, and the stored values [height, width], uint8, int8, uint16 or int16.

    Raises:
        ImageError: The file is damaged, contradicts itself, is not one gray frame, or needs a decoder that is absent.
    """
    silence_readers()
    dataset = _read_dataset(path)
    try:
        display = display_of(dataset, path)
        decoder = _checked_decoder(dataset, path)
        syntax = _known_name(_syntax(dataset))
    except HEADER_FAULTS as error:
        raise ImageError(f"{path}: damaged DICOM header ({type(error).__name__}); fetch the file again") from error
    with_end, display = _without_end(dataset, display, path)
    try:
        stored = pixel_array(with_end, raw=True, decoding_plugin=decoder, correct_unused_bits=False)
    except HEADER_FAULTS as error:
        raise ImageError(
            f"{path}: damaged {syntax} pixel data ({type(error).__name__}); fetch the file again"
        ) from error
    if stored.shape != (dataset.Rows, dataset.Columns):
        raise ImageError(
            f"{path}: expected {dataset.Rows} rows × {dataset.Columns} columns of gray pixels, got an array of {stored.shape}"
        )
    return display, _image_bits(stored, display.bits_stored, display.high_bit)


def _image_bits(stored: np.ndarray, bits: int, high_bit: int) -> np.ndarray:
    """Clear what lies outside BitsStored, such as an overlay (PS3.5 8.1.1), and fill it with the sign where there is one."""
    above, spare = 8 * stored.itemsize - 1 - high_bit, 8 * stored.itemsize - bits
    signed = stored.dtype.kind == "i"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not spare or (above == spare and stored.min() >= low and stored.max() <= high):
        return stored
    return (stored << above) >> spare


def _without_end(dataset: Dataset, display: Display, path: Path) -> tuple[Dataset, Display]:
    """Cut off what follows the last pixel of raw pixel data, and remark it."""
    if _syntax(dataset) not in NATIVE:
        if display.high_bit != display.bits_stored - 1 and _syntax(dataset) not in CELLS:
            raise ImageError(
                f"{path}: expected HighBit {display.bits_stored - 1} for BitsStored {display.bits_stored} in compressed pixel data "
                f"(PS3.5 8.1.1), got {display.high_bit}; fetch the file again"
            )
        return dataset, display
    expected = int(dataset.Rows) * int(dataset.Columns) * (int(dataset.BitsAllocated) // 8)
    if len(dataset.PixelData) <= expected + expected % 2:
        return dataset, display
    dataset.PixelData = dataset.PixelData[: expected + expected % 2]
    return dataset, replace(display, remarks=(*display.remarks, "trailing_bytes"))


class _Withheld(logging.Handler):
    """Takes the readers' remarks about odd headers, which quote header text, and passes on only that there was one."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("a remark by %s, its text withheld", record.name)


def silence_readers() -> None:
    """Set for the process and not for one call: filters put back by two threads at once would end up wrong."""
    warnings.filterwarnings("ignore", module=r"pydicom|mammo\.images")
    for name in READERS_THAT_LOG:
        reader = logging.getLogger(name)
        if not any(isinstance(handler, _Withheld) for handler in reader.handlers):
            reader.addHandler(_Withheld())
            reader.propagate = False


def _read_dataset(path: Path) -> Dataset:
    try:
        if check_structure(path) != DEFLATED and _parser_would_inflate(path):
            raise ImageError(f"{path}: hides deflated content; the file is damaged, or meant to do harm: leave it out")
        # Only what decoding and display need is read: names and ids never enter memory.
        dataset = dcmread(path, force=True, specific_tags=list(READ))
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            explicit = uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian if implicit else explicit
    except RecursionError as error:
        raise ImageError(f"{path}: damaged DICOM file: sequences nested too deeply; fetch it again") from error
    except HEADER_FAULTS as error:
        raise ImageError(f"{path}: damaged or cut-short DICOM file ({type(error).__name__}); fetch it again") from error
    return dataset


def _parser_would_inflate(path: Path) -> bool:
    """Whether pydicom, in either of its ways to read group 2, finds the one transfer syntax of which it unpacks all at once."""
    for implicit in (False, True):
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                file.seek(0)
            meta = read_dataset(
                file, is_implicit_VR=implicit, is_little_endian=True, stop_when=lambda tag, kind, length: tag >> 16 != 2
            )
        if DEFLATED in str(meta.get("TransferSyntaxUID", "")):
            return True
    return False


def _checked_decoder(dataset: Dataset, path: Path) -> str:
    """Check that the header is one gray frame that its pixel data can hold; name the decoder ('' for raw pixels)."""
    if "PixelData" not in dataset or not dataset.PixelData:
        raise ImageError(f"{path}: expected a DICOM image, got one without pixel data; leave it out or fetch it again")
    height, width = (whole_number(dataset, keyword, path) for keyword in ("Rows", "Columns"))
    check_size(path, height, width)
    frames = 1 if dataset.get("NumberOfFrames") is None else whole_number(dataset, "NumberOfFrames", path)
    if frames != 1:
        raise ImageError(
            f"{path}: expected one frame, got NumberOfFrames {frames}; multi-frame images (tomosynthesis) are not read"
        )
    samples, allocated = (whole_number(dataset, keyword, path) for keyword in ("SamplesPerPixel", "BitsAllocated"))
    if samples != 1:
        raise ImageError(
            f"{path}: expected one gray sample per pixel, got SamplesPerPixel {samples}; colour DICOM is not read"
        )
    syntax = _syntax(dataset)
    if syntax in NATIVE:
        _check_length(path, dataset.PixelData, height, width, allocated // 8)
        return ""
    decoder = _available_decoder(syntax, path)
    check_ratio(path, height * width * (allocated // 8), len(dataset.PixelData))
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    if syntax == uids.RLELossless:
        _check_segments(path, frame, height * width)
    size = codestream_size(frame)
    if size is not None and size[2] != 1:
        raise ImageError(
            f"{path}: expected one gray channel, got compressed data of {size[2]}; colour DICOM is not read"
        )
    if size is not None and size[:2] != (height, width):
        raise ImageError(
            f"{path}: its header says {width} × {height} pixels, its compressed data {size[1]} × {size[0]}; fetch it again"
        )
    return decoder


def _check_length(path: Path, data: bytes, height: int, width: int, bytes_each: int) -> None:
    """Raw pixel data has the header's number of bytes, or a few more, which older writers padded it with (PS3.5 8.1.1)."""
    expected, length = height * width * bytes_each, len(data)
    more = length - expected
    if more < 0 or (more >= max(2, width * bytes_each) and (more > MOST_TRAILING or any(data[expected:]))):
        raise ImageError(
            f"{path}: its header says {width} × {height} pixels of {bytes_each} bytes, {expected} bytes in all, "
            f"but its pixel data has {length}; fetch it again"
        )


def _check_segments(path: Path, frame: bytes, expected: int) -> None:
    """RLE has no checksum, but damage to a count makes a segment, a byte of each pixel, too short or too long."""
    odd = [length for length in rle_lengths(frame) if not 0 <= length - expected <= MOST_PADDING]
    if odd:
        raise ImageError(
            f"{path}: damaged RLE Lossless pixel data: a segment unpacks to {odd[0]} bytes, expected {expected}; fetch the file again"
        )


def _syntax(dataset: Dataset) -> uids.UID:
    return uids.UID(str(dataset.file_meta.TransferSyntaxUID))


def _available_decoder(syntax: uids.UID, path: Path) -> str:
    if syntax not in DECODERS:
        raise ImageError(
            f"{path}: its transfer syntax is not read ({_known_name(syntax)}); decompress it with another tool"
        )
    wanted, advice = DECODERS[syntax]
    available = get_decoder(syntax).available_plugins
    for name in wanted:
        if name in available:
            return name
    raise ImageError(f"{path}: {syntax.name} needs a decoder that is not installed: {advice}")


def _known_name(syntax: uids.UID) -> str:
    return syntax.name if syntax in uids.UID_dictionary else "unknown to the DICOM standard"
