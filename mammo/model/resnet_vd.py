"""ResNet-vd: turns images [N, C, H, W] into a feature map [N, channels, H/32, W/32].

The network of "Bag of Tricks for Image Classification" (He et al., 2019, arXiv:1812.01187, ResNet-D): three 3x3
convolutions as the stem, and shortcuts that average before their 1x1 convolution. Parameters have the names and shapes
that PaddleClas gives them (`stem.0.conv.weight`, `blocks.3.short.bn._mean`), so its files load by name.
"""

from dataclasses import dataclass
from itertools import accumulate

from mammo.errors import SettingsError
from mammo.runtime import paddle

STEM_WIDTHS = (32, 32, 64)
STAGE_WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Plan:
    """How many blocks each of the four stages has, and by how much a block widens its output."""

    blocks: tuple[int, int, int, int]
    expansion: int


PLANS = {18: Plan((2, 2, 2, 2), 1), 34: Plan((3, 4, 6, 3), 1), 50: Plan((3, 4, 6, 3), 4), 101: Plan((3, 4, 23, 3), 4)}


class ResNetVdFeatures(paddle.nn.Layer):
    """The network up to, and without, global pooling.

    Args:
        depth: 18, 34, 50 or 101.
        in_channels: Channels of the input image.

    Attributes:
        channels: Channels of the feature map: 512 for depths 18 and 34, 2048 for 50 and 101.
    """

    def __init__(self, depth: int, in_channels: int = 3) -> None:
        super().__init__()
        if depth not in PLANS:
            raise SettingsError(f"ResNet-vd: expected a depth of {', '.join(map(str, PLANS))}, got {depth}")
        plan = PLANS[depth]
        widths = (in_channels, *STEM_WIDTHS)
        self.stem = paddle.nn.Sequential(
            *(ConvNorm(widths[i], widths[i + 1], kernel=3, stride=2 if i == 0 else 1) for i in range(len(STEM_WIDTHS)))
        )
        self.max_pool = paddle.nn.MaxPool2D(kernel_size=3, stride=2, padding=1)
        self.blocks = paddle.nn.Sequential(*_blocks(plan))
        self.channels = STAGE_WIDTHS[-1] * plan.expansion

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        """Turn images [N, in_channels, H, W] into a feature map [N, channels, ceil(H/32), ceil(W/32)]."""
        return self.blocks(self.max_pool(self.stem(image)))


def stage_prefixes(depth: int) -> tuple[tuple[str, ...], ...]:
    """List the parameter-name prefixes of the stem and of the four stages."""
    ends = list(accumulate(PLANS[depth].blocks))
    stages = [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]
    return (("stem.",), *(tuple(f"blocks.{number}." for number in stage) for stage in stages))


class ConvNorm(paddle.nn.Layer):
    """Convolution without bias, batch norm, and ReLU if asked; `halve` averages 2x2 pixels before the convolution."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, stride: int = 1, relu: bool = True, halve: bool = False
    ) -> None:
        super().__init__()
        self.relu = relu
        self.halve = halve
        self.conv = paddle.nn.Conv2D(inputs, outputs, kernel, stride=stride, padding=(kernel - 1) // 2, bias_attr=False)
        self.bn = paddle.nn.BatchNorm2D(outputs)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Turn [N, inputs, H, W] into [N, outputs, H', W']."""
        if self.halve:  # ceil_mode: an odd edge is averaged over the pixels that are there, as "SAME" padding does
            x = paddle.nn.functional.avg_pool2d(x, kernel_size=2, stride=2, ceil_mode=True)
        x = self.bn(self.conv(x))
        return paddle.nn.functional.relu(x) if self.relu else x


class Block(paddle.nn.Layer):
    """A residual block: two 3x3 convolutions (expansion 1) or 1x1, 3x3, 1x1 (expansion 4)."""

    def __init__(self, inputs: int, width: int, *, expansion: int, stride: int, first_of_stage: bool) -> None:
        super().__init__()
        outputs = width * expansion
        if expansion == 1:
            self.conv0 = ConvNorm(inputs, width, kernel=3, stride=stride)
            self.conv1 = ConvNorm(width, outputs, kernel=3, relu=False)
        else:
            self.conv0 = ConvNorm(inputs, width, kernel=1)
            self.conv1 = ConvNorm(width, width, kernel=3, stride=stride)
            self.conv2 = ConvNorm(width, outputs, kernel=1, relu=False)
        self.deep = expansion != 1
        self.has_short = first_of_stage
        if first_of_stage:
            self.short = ConvNorm(inputs, outputs, kernel=1, relu=False, halve=stride == 2)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Turn [N, inputs, H, W] into [N, width * expansion, H/stride, W/stride]."""
        short = self.short(x) if self.has_short else x
        x = self.conv1(self.conv0(x))
        if self.deep:
            x = self.conv2(x)
        return paddle.nn.functional.relu(x + short)


def _blocks(plan: Plan) -> list[Block]:
    blocks: list[Block] = []
    inputs = STEM_WIDTHS[-1]
    for stage, (width, count) in enumerate(zip(STAGE_WIDTHS, plan.blocks, strict=True)):
        for number in range(count):
            first = number == 0
            stride = 2 if first and stage > 0 else 1
            blocks.append(Block(inputs, width, expansion=plan.expansion, stride=stride, first_of_stage=first))
            inputs = width * plan.expansion
    return blocks
