"""The yardstick: ResNet50-vd as PyTorch trains it, channels last; batch, pixels, threads and seconds in, images a second out."""

import sys
import time

import torch
from torch import nn

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
WARM_STEPS = 2


class ConvNorm(nn.Module):
    """As `mammo.model.resnet_vd.ConvNorm`."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, relu: bool = True, halve: bool = False
    ) -> None:
        super().__init__()
        self.relu, self.halve = relu, halve
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        """Turn [N, inputs, H, W] into [N, outputs, H', W']."""
        if self.halve:
            films = nn.functional.avg_pool2d(films, 2, 2, ceil_mode=True)
        films = self.norm(self.conv(films))
        return nn.functional.relu(films, inplace=True) if self.relu else films


class Block(nn.Module):
    """As `mammo.model.resnet_vd.Block`, of depth 50."""

    def __init__(self, inputs: int, width: int, stride: int, *, first: bool, first_of_all: bool) -> None:
        super().__init__()
        narrow, wide = ConvNorm(inputs, width, 1), ConvNorm(width, 4 * width, 1, relu=False)
        self.long = nn.Sequential(narrow, ConvNorm(width, width, 3, stride), wide)
        self.short = ConvNorm(inputs, 4 * width, 1, relu=False, halve=not first_of_all) if first else nn.Identity()

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        """Turn [N, inputs, H, W] into [N, 4 width, H', W']."""
        return nn.functional.relu(self.long(films) + self.short(films), inplace=True)


def build() -> nn.Module:
    """The whole network, for one channel and two classes."""
    layers: list[nn.Module] = [ConvNorm(1, 32, 3, 2), ConvNorm(32, 32, 3), ConvNorm(32, 64, 3), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, (width, count) in enumerate(STAGES):
        for number in range(count):
            first = number == 0
            layers.append(
                Block(inputs, width, 2 if first and stage else 1, first=first, first_of_all=first and not stage)
            )
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(inputs, 2))


def main() -> None:
    """Train on one batch of random images for some seconds."""
    batch, size, threads, least_s = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    torch.set_num_threads(threads)
    network = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-4)
    films = torch.randn(batch, 1, size, size).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 2
    start, steps = time.perf_counter(), -WARM_STEPS
    while steps <= 0 or time.perf_counter() - start < least_s:
        if steps == 0:
            start = time.perf_counter()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(films), labels, label_smoothing=0.1).backward()
        optimizer.step()
        steps += 1
    print(batch * steps / (time.perf_counter() - start))


if __name__ == "__main__":
    main()
