"""Reads a DICOM file, checks it before decoding, and returns its stored values and how they are displayed.

No message contains header text: names, ids and dates stay in the file.
"""

import itertools
import logging
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from mammo.images.dicom_header import Header, display_of
from mammo.images.dicom_walk import DEFLATED, check_structure
from mammo.images.display import Display
from mammo.images.display_rules import READ
from mammo.images.limits import DECODER_FAULTS, check_ratio, check_size

log = logging.getLogger(__name__)

HEADER_FAULTS: tuple[type[Exception], ...] = (InvalidDicomError, BytesLengthException, *DECODER_FAULTS)
WITH_EXTRA = 'pip install "mammo[dicom]"'
WITH_OPENJPEG = "pip install pylibjpeg pylibjpeg-openjpeg"
# Decoders in order of preference, and how to install the best one. Two are left out because of mutated files: gdcm ends
# the process, and pylibjpeg's RLE panics with a BaseException.
DECODERS: dict[str, tuple[tuple[str, ...], str]] = {
    uids.RLELossless: (("pydicom",), "pip install pydicom"),
    **dict.fromkeys(uids.JPEGLSTransferSyntaxes, (("pyjpegls", "pylibjpeg"), "pip install pyjpegls")),
    **dict.fromkeys((uids.JPEG2000Lossless, uids.JPEG2000), (("pylibjpeg", "pillow"), WITH_OPENJPEG)),
    **dict.fromkeys((uids.HTJ2KLossless, uids.HTJ2KLosslessRPCL, uids.HTJ2K), (("pylibjpeg",), WITH_OPENJPEG)),
    uids.JPEGBaseline8Bit: (("pillow", "pylibjpeg"), "pip install pillow"),
    **dict.fromkeys((uids.JPEGExtended12Bit, uids.JPEGLossless, uids.JPEGLosslessSV1), (("pylibjpeg",), WITH_EXTRA)),
}
READERS_THAT_LOG = ("pydicom", "pylibjpeg", "openjpeg", "libjpeg")
MOST_PADDING = 8  # PS3.5 G.3.1 pads a segment with at most one zero byte; some files have more
MOST_TRAILING = 2**16  # zero bytes after the pixels; other bytes must be fewer than a row, or Rows may be wrong
J2K_START = b"\xff\x4f\xff\x51"
# Start-of-frame markers: ISO/IEC 10918-1 table B.1 (not C4, C8 and CC) and JPEG-LS (ISO/IEC 14495-1 C.1.1).
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file's first 132 bytes have `DICM` at 128, or begin with group 0002 or 0008 at once."""
    return start[128:132] == b"DICM" or start[:2] in (b"\x02\0", b"\x08\0", b"\0\x08")


def read_dicom(path: Path) -> tuple[Display, np.ndarray]:
    """Decode the one frame of a DICOM image.

    Returns:
        How the image is displayed, and the stored values, uint8, int8, uint16 or int16 [height, width].

    Raises:
        ImageError: The file is damaged, contradicts itself, is not one gray frame, or needs a missing decoder.
    """
    _silence_readers()
    dataset = _read_dataset(path)
    with damage_reported(path, "DICOM header"):
        display = display_of(dataset, path)
        decoder, has_trailing = _checked_decoder(dataset, display, path)
        if has_trailing:
            display = replace(display, remarks=(*display.remarks, "trailing_bytes"))
        syntax = _known_name(_syntax(dataset))
    with damage_reported(path, f"{syntax} pixel data"):
        stored = pixel_array(dataset, raw=True, decoding_plugin=decoder, correct_unused_bits=False)
    if stored.shape != (dataset.Rows, dataset.Columns):
        expected = f"{dataset.Rows} rows × {dataset.Columns} columns of gray pixels"
        raise ImageError(f"{path}: expected {expected}, got an array of {stored.shape}; fetch the file again")
    return display, _image_bits(stored, display.bits_stored, display.high_bit)


def read_header(path: Path, keywords: Sequence[str]) -> Dataset:
    """Read some attributes of a header, and no pixels; group 2 is read too.

    Raises:
        ImageError: The file's structure is damaged.
        HEADER_FAULTS: The header is damaged.
    """
    _silence_readers()
    check_structure(path)
    return dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(keywords))


@contextmanager
def damage_reported(path: Path, what: str) -> Iterator[None]:
    """Raise an ImageError that names the damaged part in place of any of `HEADER_FAULTS`."""
    try:
        yield
    except HEADER_FAULTS as error:
        raise ImageError(f"{path}: damaged {what} ({type(error).__name__}); fetch the file again") from error


def _image_bits(stored: np.ndarray, bits: int, high_bit: int) -> np.ndarray:
    """Clear bits outside BitsStored, such as an overlay (PS3.5 8.1.1); in signed pixels, fill them with the sign."""
    above, spare = 8 * stored.itemsize - 1 - high_bit, 8 * stored.itemsize - bits
    signed = stored.dtype.kind == "i"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not spare or (above == spare and stored.min() >= low and stored.max() <= high):
        return stored
    return (stored << above) >> spare


class _Withheld(logging.Handler):
    """Takes the readers' messages about odd headers, which quote header text, and logs only that there was one."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("a message by %s, its text withheld", record.name)


def _silence_readers() -> None:
    """Suppress messages of pydicom and its decoders, for the whole process: per call, two threads would interfere."""
    warnings.filterwarnings("ignore", module=r"pydicom|mammo\.images")
    for name in READERS_THAT_LOG:
        reader = logging.getLogger(name)
        if not any(isinstance(handler, _Withheld) for handler in reader.handlers):
            reader.addHandler(_Withheld())
            reader.propagate = False


def _read_dataset(path: Path) -> Dataset:
    with damage_reported(path, "or cut-short DICOM file"):
        if check_structure(path) != DEFLATED and _parser_would_inflate(path):
            raise ImageError(f"{path}: hides deflated content; it is damaged or malicious: leave it out")
        # Only what decoding and display need is read: names and ids never enter memory.
        dataset = dcmread(path, force=True, specific_tags=list(READ))
        if "TransferSyntaxUID" not in dataset.file_meta:
            implicit, little = dataset.original_encoding
            explicit = uids.ExplicitVRLittleEndian if little else uids.ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = uids.ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _parser_would_inflate(path: Path) -> bool:
    """Whether pydicom, in either of its ways to read group 2, finds the transfer syntax that it inflates at once."""
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


def _checked_decoder(dataset: Dataset, display: Display, path: Path) -> tuple[str, bool]:
    """Check that the file has one gray frame and all its pixel data.

    Returns:
        The decoder, "" for raw pixels, and whether bytes after the last pixel were cut off.
    """
    header = Header(dataset, path)
    if "PixelData" not in dataset or not dataset.PixelData:
        raise header.error("expected a DICOM image, got one without pixel data; leave it out or fetch it again")
    height, width = header.whole_number("Rows"), header.whole_number("Columns")
    check_size(path, height, width)
    frames = 1 if dataset.get("NumberOfFrames") is None else header.whole_number("NumberOfFrames")
    if frames != 1:
        raise header.error(f"expected one frame, got NumberOfFrames {frames}; several (tomosynthesis) are not read")
    samples, bytes_each = header.whole_number("SamplesPerPixel"), header.whole_number("BitsAllocated") // 8
    if samples != 1:
        raise header.error(f"expected one gray sample per pixel, got SamplesPerPixel {samples}; colour is not read")
    syntax = _syntax(dataset)
    if syntax in uids.UncompressedTransferSyntaxes:
        return "", _cut_to_length(header, height, width, bytes_each)
    decoder = _available_decoder(syntax, path)
    check_ratio(path, height * width * bytes_each, len(dataset.PixelData))
    _check_frame(header, height, width)
    # RLE and raw pixels are cells of BitsAllocated bits, so that HighBit has a meaning; others are not.
    if syntax != uids.RLELossless and display.high_bit != display.bits_stored - 1:
        expected = f"HighBit {display.bits_stored - 1} in compressed pixel data of BitsStored {display.bits_stored}"
        raise header.error(f"expected {expected} (PS3.5 8.1.1), got {display.high_bit}; fetch the file again")
    return decoder, False


def _cut_to_length(header: Header, height: int, width: int, bytes_each: int) -> bool:
    """Check the length of raw pixel data, and cut off what follows the last pixel (PS3.5 8.1.1).

    Returns:
        Whether there was more than a byte that makes the length even; older files have a few bytes more.
    """
    data = header.dataset.PixelData
    expected = height * width * bytes_each
    more = len(data) - expected
    if more < 0 or (more >= max(2, width * bytes_each) and (more > MOST_TRAILING or any(data[expected:]))):
        size = f"{width} × {height} pixels of {bytes_each} bytes, {expected} bytes in all"
        raise header.error(f"its header says {size}, but its pixel data has {len(data)}; fetch it again")
    if more <= expected % 2:
        return False
    header.dataset.PixelData = data[: expected + expected % 2]
    return True


def _check_frame(header: Header, height: int, width: int) -> None:
    """Check the size of a compressed frame. RLE has no checksum, but a damaged count gives a segment another length."""
    frame = next(generate_frames(header.dataset.PixelData, number_of_frames=1))
    if _syntax(header.dataset) == uids.RLELossless:
        expected = height * width  # a segment has one byte of each pixel
        for length in rle_lengths(frame):
            if not 0 <= length - expected <= MOST_PADDING:
                problem = f"a segment unpacks to {length} bytes, expected {expected}"
                raise header.error(f"damaged RLE Lossless pixel data: {problem}; fetch the file again")
    size = _codestream_size(frame)
    if size is not None and size[2] != 1:
        raise header.error(f"expected one gray channel, got compressed data of {size[2]}; colour DICOM is not read")
    if size is not None and size[:2] != (height, width):
        found = f"{width} × {height} pixels, its compressed data {size[1]} × {size[0]}"
        raise header.error(f"its header says {found}; fetch it again")


def _codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    """Read (height, width, channels) of a JPEG, JPEG-LS or JPEG 2000 codestream; None without such a header (RLE)."""
    if frame.startswith(J2K_START):
        # SIZ (ISO/IEC 15444-1 A.5.1): Xsiz, Ysiz, XOsiz and YOsiz as big-endian words from byte 8 on; Csiz at byte 40.
        x, y, x_offset, y_offset = (int.from_bytes(frame[start : start + 4], "big") for start in (8, 12, 16, 20))
        return y - y_offset, x - x_offset, int.from_bytes(frame[40:42], "big")
    position = 2
    while frame.startswith(b"\xff\xd8") and position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker in FRAME_MARKERS:
            height, width = (int.from_bytes(frame[start : start + 2], "big") for start in (position + 5, position + 7))
            return height, width, frame[position + 9]
        # FF fills; all other markers before the first scan have a length.
        position += 1 if marker == 0xFF else 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return None


def rle_lengths(frame: bytes) -> list[int]:
    """Count the bytes to which each segment of an RLE frame unpacks (PS3.5 G.3 to G.5); takes 0.07 s for a film.

    Returns:
        One count per segment; an empty list for an invalid header, which decoders refuse.
    """
    count = int.from_bytes(frame[:4], "little")
    if len(frame) < 64 or count > 15:
        return []
    places = (*struct.unpack(f"<{count}L", frame[4 : 4 + 4 * count]), len(frame))
    return [_unpacked_length(frame[start:end]) for start, end in itertools.pairwise(places)]


def _unpacked_length(segment: bytes) -> int:
    position = length = head = 0
    size = len(segment)
    while position < size:
        head = segment[position]
        if head < 128:  # head + 1 bytes follow as they are
            position += head + 2
            length += head + 1
        elif head > 128:  # one byte follows, repeated
            position += 2
            length += 257 - head
        else:
            position += 1
    if position > size:  # the last run is cut; a zero byte that pads the segment is such a run
        length -= position - size if head < 128 else 257 - head
    return length


def _syntax(dataset: Dataset) -> uids.UID:
    return uids.UID(str(dataset.file_meta.TransferSyntaxUID))


def _available_decoder(syntax: uids.UID, path: Path) -> str:
    if syntax not in DECODERS:
        name = _known_name(syntax)
        raise ImageError(f"{path}: its transfer syntax is not read ({name}); decompress it with another tool")
    wanted, advice = DECODERS[syntax]
    available = get_decoder(syntax).available_plugins
    for name in wanted:
        if name in available:
            return name
    raise ImageError(f"{path}: {syntax.name} needs a decoder that is not installed: {advice}")


def _known_name(syntax: uids.UID) -> str:
    return syntax.name if syntax in uids.UID_dictionary else "unknown to the DICOM standard"
