"""A compressed frame enters; the image size and the channels that its own header states leave, without decoding."""

J2K_START = b"\xff\x4f\xff\x51"
# Start-of-frame markers: ISO/IEC 10918-1 table B.1 (C4, C8 and CC are no frames) and JPEG-LS (ISO/IEC 14495-1 C.1.1).
FRAME_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def codestream_size(frame: bytes) -> tuple[int, int, int] | None:
    """Read (height, width, channels) from a JPEG, JPEG-LS or JPEG 2000 codestream; None where there is no such header (RLE)."""
    if frame.startswith(J2K_START):
        return _jpeg_2000_size(frame)
    if frame.startswith(b"\xff\xd8"):
        return _jpeg_size(frame)
    return None


def _jpeg_2000_size(frame: bytes) -> tuple[int, int, int]:
    """SIZ (ISO/IEC 15444-1 A.5.1): Xsiz, Ysiz, XOsiz and YOsiz as big-endian words from byte 8 on; Csiz at byte 40."""
    x, y, x_offset, y_offset = (int.from_bytes(frame[start : start + 4], "big") for start in (8, 12, 16, 20))
    return y - y_offset, x - x_offset, int.from_bytes(frame[40:42], "big")


def _jpeg_size(frame: bytes) -> tuple[int, int, int] | None:
    position = 2
    while position + 10 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker in FRAME_MARKERS:
            height, width = (int.from_bytes(frame[start : start + 2], "big") for start in (position + 5, position + 7))
            return height, width, frame[position + 9]
        # FF fills; everything else before the first scan has a length.
        position += 1 if marker == 0xFF else 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return None
