"""EfficientNet-lite: turns images [N, C, H, W] into a feature map [N, 1280, ceil(H/32), ceil(W/32)].

The network of "EfficientNet" (Tan and Le, 2019, arXiv:1905.11946) in the form that its authors published for small
devices: no squeeze-and-excitation, ReLU6 instead of swish, and a stem and head that the width does not scale. The
parameters have the names of the published PyTorch files (`_blocks.3._depthwise_conv.weight`); the running statistics of
batch-norms have paddle's. Padding is TensorFlow's "SAME": where an odd number of pixels is added, the last one is at
the bottom or at the right. Stochastic depth is left out.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mammo.runtime import paddle

STEM_WIDTH, HEAD_WIDTH = 32, 1280
WIDTH_STEP = 8
EPSILON, MOMENTUM = 1e-3, 0.99  # in paddle, momentum is the part of the running statistics that is kept
# Our networks get (gray - 0.449) / 0.226, with gray in 0-1, and the published weights expect (255 * rgb - 127) / 128.
OUR_MEAN, OUR_DEVIATION = 0.449, 0.226  # of images/network_input.py, which a test compares
SCALE = 255 * OUR_DEVIATION / 128
SHIFT = (255 * OUR_MEAN - 127) / 128
STATISTICS = {"running_mean": "_mean", "running_var": "_variance"}  # PyTorch's names and paddle's


@dataclass(frozen=True)
class Scaling:
    """By how much a network is wider and deeper than the smallest."""

    width: float
    depth: float


@dataclass(frozen=True)
class Group:
    """Blocks of one width in the smallest network; the first has the stride."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    width: int


SCALINGS = {
    "EfficientNet_lite0": Scaling(1.0, 1.0),
    "EfficientNet_lite1": Scaling(1.0, 1.1),
    "EfficientNet_lite2": Scaling(1.1, 1.2),
}
GROUPS = (
    Group(blocks=1, kernel=3, stride=1, expansion=1, width=16),
    Group(blocks=2, kernel=3, stride=2, expansion=6, width=24),
    Group(blocks=2, kernel=5, stride=2, expansion=6, width=40),
    Group(blocks=3, kernel=3, stride=2, expansion=6, width=80),
    Group(blocks=3, kernel=5, stride=1, expansion=6, width=112),
    Group(blocks=4, kernel=5, stride=2, expansion=6, width=192),
    Group(blocks=1, kernel=3, stride=1, expansion=6, width=320),
)


class EfficientNetLiteFeatures(paddle.nn.Layer):
    """The network up to, and without, global pooling.

    Args:
        name: A key of `SCALINGS`.
        in_channels: Channels of the input image.

    Attributes:
        channels: Channels of the feature map.
    """

    channels = HEAD_WIDTH

    def __init__(self, name: str, in_channels: int = 3) -> None:
        super().__init__()
        blocks = _blocks(SCALINGS[name])
        self._conv_stem = _convolution(in_channels, STEM_WIDTH, kernel=3, stride=2)
        self._bn0 = _norm(STEM_WIDTH)
        self._relu0 = paddle.nn.ReLU6()
        self._blocks = paddle.nn.Sequential(*blocks)
        self._conv_head = _convolution(blocks[-1].outputs, HEAD_WIDTH, kernel=1)
        self._bn1 = _norm(HEAD_WIDTH)
        self._relu1 = paddle.nn.ReLU6()

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        """Turn images [N, in_channels, H, W] into a feature map [N, 1280, ceil(H/32), ceil(W/32)]."""
        x = self._blocks(self._relu0(self._bn0(self._conv_stem(image))))
        return self._relu1(self._bn1(self._conv_head(x)))


def stage_prefixes(name: str) -> tuple[tuple[str, ...], ...]:
    """List the parameter-name prefixes of the stem and of the four stages, which end at strides 4, 8, 16 and 32.

    The first block runs at the stem's size and belongs to the first stage; the last convolution belongs to the last.
    """
    stages: list[list[str]] = [["_conv_stem.", "_bn0."], []]
    for number, (group, is_first) in enumerate(_plan(SCALINGS[name])):
        if is_first and group.stride == 2 and number > 1:
            stages.append([])
        stages[-1].append(f"_blocks.{number}.")
    stages[-1] += ["_conv_head.", "_bn1."]
    return tuple(map(tuple, stages))


class Block(paddle.nn.Layer):
    """An inverted residual block: wider by a 1x1 convolution, a depthwise one, and narrower by another 1x1."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.outputs = outputs
        self.is_wider = expansion != 1
        self.has_short = stride == 1 and inputs == outputs
        if self.is_wider:
            self._expand_conv = _convolution(inputs, inner, kernel=1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = _convolution(inner, inner, kernel=kernel, stride=stride, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = _convolution(inner, outputs, kernel=1)
        self._bn2 = _norm(outputs)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        """Turn [N, inputs, H, W] into [N, outputs, ceil(H/stride), ceil(W/stride)]."""
        relu6 = paddle.nn.functional.relu6
        x = relu6(self._bn0(self._expand_conv(image))) if self.is_wider else image
        x = relu6(self._bn1(self._depthwise_conv(x)))
        x = self._bn2(self._project_conv(x))
        return x + image if self.has_short else x


def _blocks(scaling: Scaling) -> list[Block]:
    blocks: list[Block] = []
    inputs = STEM_WIDTH
    for group, is_first in _plan(scaling):
        outputs, stride = _scaled_width(group.width, scaling.width), group.stride if is_first else 1
        blocks.append(Block(inputs, outputs, kernel=group.kernel, stride=stride, expansion=group.expansion))
        inputs = outputs
    return blocks


def _plan(scaling: Scaling) -> list[tuple[Group, bool]]:
    """List each block's group, and whether the block is its first. The depth does not scale the outer two groups."""
    inner = GROUPS[1:-1]
    counts = [math.ceil(group.blocks * scaling.depth) if group in inner else group.blocks for group in GROUPS]
    return [(group, number == 0) for group, count in zip(GROUPS, counts, strict=True) for number in range(count)]


def _scaled_width(width: int, factor: float) -> int:
    """Scale a width to the nearest multiple of 8 that is at least 0.9 of it."""
    scaled = width * factor
    rounded = max(WIDTH_STEP, int(scaled + WIDTH_STEP / 2) // WIDTH_STEP * WIDTH_STEP)
    return rounded + WIDTH_STEP if rounded < 0.9 * scaled else rounded


def _convolution(inputs: int, outputs: int, *, kernel: int, stride: int = 1, groups: int = 1) -> paddle.nn.Conv2D:
    """Make a convolution without bias, with random weights as the authors of EfficientNet draw them."""
    normal = paddle.nn.initializer.Normal(0.0, math.sqrt(2 * groups / (kernel * kernel * outputs)))
    return paddle.nn.Conv2D(
        inputs, outputs, kernel, stride, padding="SAME", groups=groups, weight_attr=normal, bias_attr=False
    )


def _norm(channels: int) -> paddle.nn.BatchNorm2D:
    return paddle.nn.BatchNorm2D(channels, momentum=MOMENTUM, epsilon=EPSILON)


def from_published(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give the arrays of a published file our names, and put the difference between the two inputs into the stem.

    The published network sees p = (255 * rgb - 127) / 128 where ours sees q = (gray - 0.449) / 0.226, so that
    p = SCALE * q + SHIFT. The stem is linear: its weights times SCALE, and SHIFT times their sum taken off the running
    mean of its batch-norm, give what it gave. At the border this is not exact: the zeros that padding adds stand for
    gray 0.449 here, and stood for 127/255 = 0.498 when the network was trained. That changes the first layer's outputs
    that reach beyond the image, on one side of it where the size is even.

    Args:
        tensors: Arrays by name. Where there are no running statistics under PyTorch's names, the file is no published
            one, and its arrays are returned as they are.
    """
    if "_bn0.running_mean" not in tensors:
        return dict(tensors)
    named = {_our_name(key): array for key, array in tensors.items() if not key.endswith(".num_batches_tracked")}
    weights, mean = named.get("_conv_stem.weight"), named["_bn0._mean"]
    if weights is not None and weights.ndim == 4 and mean.shape == weights.shape[:1]:
        named["_conv_stem.weight"] = weights * np.float32(SCALE)
        named["_bn0._mean"] = mean - np.float32(SHIFT) * weights.sum(axis=(1, 2, 3))
    return named


def _our_name(key: str) -> str:
    layer, _, value = key.rpartition(".")
    return f"{layer}.{STATISTICS.get(value, value)}"
