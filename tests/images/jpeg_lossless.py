"""Encodes lossless JPEG (ITU-T T.81 annex H) for tests: gray, 8 to 16 bits, any of the seven predictors."""

import numpy as np

# One code of 5 bits for each of the 17 categories of difference (table H.2): 11111 stays unused, as C.2 demands.
CODE_BITS = 5
CATEGORIES = 17


def encode_jpeg_lossless(pixels: np.ndarray, *, bits: int, predictor: int) -> bytes:
    """Encode uint8 or uint16 [height, width] as one JPEG codestream of process 14."""
    height, width = pixels.shape
    frame = bytes([bits]) + height.to_bytes(2, "big") + width.to_bytes(2, "big") + bytes([1, 1, 0x11, 0])
    counts = [0] * 16
    counts[CODE_BITS - 1] = CATEGORIES
    table = bytes([0, *counts, *range(CATEGORIES)])
    scan = bytes([1, 1, 0, predictor, 0, 0])
    head = b"\xff\xd8" + _segment(0xC3, frame) + _segment(0xC4, table) + _segment(0xDA, scan)
    return head + _entropy_coded(_differences(pixels.astype(np.int64), bits, predictor)) + b"\xff\xd9"


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _differences(x: np.ndarray, bits: int, predictor: int) -> np.ndarray:
    """Each pixel less its prediction (table H.1), modulo 2^16 as -32767 … 32768."""
    left, above, corner = np.roll(x, 1, 1), np.roll(x, 1, 0), np.roll(x, (1, 1), (0, 1))
    predictions = [
        left,
        above,
        corner,
        left + above - corner,
        left + ((above - corner) >> 1),
        above + ((left - corner) >> 1),
        (left + above) >> 1,
    ]
    guess = predictions[predictor - 1]
    guess[0, 1:], guess[1:, 0], guess[0, 0] = (
        x[0, :-1],
        x[:-1, 0],
        1 << bits - 1,
    )  # H.1.2.1: the edges are predicted otherwise
    return (x - guess + 32767) % 65536 - 32767


def _entropy_coded(differences: np.ndarray) -> bytes:
    """Write the category in 5 bits, then as many low bits of the difference, less 1 if negative (H.1.2.2)."""
    values = differences.ravel()
    sizes = np.ceil(np.log2(np.abs(values) + 1)).astype(np.int64)
    extra = np.where(sizes == 16, 0, sizes)  # 32768 needs no further bits
    low = np.where(values < 0, values - 1, values) & ((1 << extra) - 1)
    words, lengths = (sizes << extra) | low, extra + CODE_BITS
    starts = np.cumsum(lengths) - lengths
    stream = np.ones(-(-int(lengths.sum()) // 8) * 8, np.uint8)  # the last byte is filled with ones (F.1.2.3)
    for place in range(int(lengths.max())):
        has = lengths > place
        stream[starts[has] + place] = (words[has] >> (lengths[has] - 1 - place)) & 1
    return np.packbits(stream).tobytes().replace(b"\xff", b"\xff\x00")
