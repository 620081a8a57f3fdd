"""Prepared 16-bit pixels in, the numbers that a network sees out; the one place where both training and use do this."""

import numpy as np

# The means over ImageNet's three channels of its per-channel mean and deviation (0.485, 0.456, 0.406; 0.229, 0.224,
# 0.225), which published backbones were trained with: a film is gray, so all channels get the same shift.
MEAN = 0.449
DEVIATION = 0.226
FULL_SCALE = 65535.0


def to_unit(pixels: np.ndarray) -> np.ndarray:
    """Scale uint16 pixels to float32 in 0-1."""
    return pixels.astype(np.float32) / np.float32(FULL_SCALE)


def to_network(unit: np.ndarray, channels: int) -> np.ndarray:
    """Shift and scale unit pixels, float32 [height, width], to a network's input, float32 [channels, height, width]."""
    shifted = (unit - np.float32(MEAN)) / np.float32(DEVIATION)
    return np.ascontiguousarray(np.broadcast_to(shifted, (channels, *shifted.shape)))
