"""Measures how fast PyTorch trains ResNet50-vd, channels last; torch is imported late, not in a process with paddle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mammo.bench.measure import per_second

if TYPE_CHECKING:
    import torch

STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))  # width, blocks


def torch_images_per_s(batch: int, size_px: int, threads: int, least_s: float) -> float:
    """Train on one batch of random images for some seconds, after two steps to warm up."""
    import torch

    torch.set_num_threads(threads)
    network = build().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), 3e-4)
    films = torch.randn(batch, 1, size_px, size_px).to(memory_format=torch.channels_last)
    labels = torch.arange(batch) % 2

    def step() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(films), labels, label_smoothing=0.1).backward()
        optimizer.step()

    step()
    return per_second(step, batch, least_s)


def build() -> torch.nn.Module:
    """Build the network of `mammo.model.resnet_vd` at depth 50, for one channel and two classes."""
    from torch import nn

    def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, *, halve: bool = False) -> nn.Sequential:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=False)
        pool = [nn.AvgPool2d(2, 2, ceil_mode=True)] if halve else []
        return nn.Sequential(*pool, conv, nn.BatchNorm2d(outputs))

    def conv_relu(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(conv_norm(inputs, outputs, kernel, stride), nn.ReLU(inplace=True))

    class Block(nn.Module):
        def __init__(self, inputs: int, width: int, *, stride: int) -> None:
            super().__init__()
            narrow, middle = conv_relu(inputs, width, 1), conv_relu(width, width, 3, stride)
            self.long = nn.Sequential(narrow, middle, conv_norm(width, 4 * width, 1))
            changed = inputs != 4 * width
            self.short = conv_norm(inputs, 4 * width, 1, halve=stride > 1) if changed else nn.Identity()

        def forward(self, films: torch.Tensor) -> torch.Tensor:
            return nn.functional.relu(self.long(films) + self.short(films), inplace=True)

    layers: list[nn.Module] = [
        conv_relu(1, 32, 3, 2),
        conv_relu(32, 32, 3),
        conv_relu(32, 64, 3),
        nn.MaxPool2d(3, 2, 1),
    ]
    inputs = 64
    for stage, (width, count) in enumerate(STAGES):
        for number in range(count):
            layers.append(Block(inputs, width, stride=2 if stage and number == 0 else 1))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.4), nn.Linear(inputs, 2))
