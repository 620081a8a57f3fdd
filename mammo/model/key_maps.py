"""Says where published weights lie, and gives the arrays of a file the names of a network's parameters."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate

import numpy as np

from mammo.model.resnet_vd import PLANS

# Published by the PaddleClas model zoo. ResNet18_vd has no SSLD weights.
ZOO = "https://paddle-imagenet-models-name.bj.bcebos.com/dygraph/legendary_models"
RESNETS = ("ResNet34_vd", "ResNet50_vd", "ResNet101_vd")
MOBILENETS = ("MobileNetV3_small_x0_35", "MobileNetV3_small_x1_0", "MobileNetV3_large_x1_0")
SSLD_URLS = {name: f"{ZOO}/{name}_ssld_pretrained.pdparams" for name in RESNETS}
SSLD_URLS |= {f"paddleclas:{name}": f"{ZOO}/{name}_ssld_pretrained.pdparams" for name in (*RESNETS, *MOBILENETS)}

MOBILENET_V3_LARGE_STAGES = (3, 3, 6, 3)


@dataclass(frozen=True)
class KeyMap:
    """How one source names its parameters.

    Attributes:
        backbones: Patterns of the backbone names that it serves.
        mark: A pattern that at least one key of such a file matches.
        rename: Old key to new key; None where the key is no parameter of the network.
    """

    backbones: tuple[str, ...]
    mark: str
    rename: Callable[[str, str], str | None]


def mapped(backbone: str, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Give the arrays of a file the names of a backbone's parameters, by the first map whose mark the file has.

    Args:
        backbone: A name such as `ResNet50_vd`.
        tensors: The arrays by the file's own names, which stay where no map fits.
    """
    chosen = find_map(backbone, tensors)
    if chosen is None:
        return dict(tensors)
    renamed = {key: chosen.rename(backbone, key) for key in tensors}
    return {renamed[key] or key: array for key, array in tensors.items()}


def find_map(backbone: str, keys: Iterable[str]) -> KeyMap | None:
    """Find the map whose mark a file with these keys has, or None: the names are the network's own."""
    keys = tuple(keys)
    for candidate in KEY_MAPS:
        serves = any(fnmatchcase(backbone, pattern) for pattern in candidate.backbones)
        if serves and any(re.match(candidate.mark, key) for key in keys):
            return candidate
    return None


def _old_resnet_vd(backbone: str, key: str) -> str | None:
    """Names of PaddleClas before 2.2: `conv1_2._conv.weight`, `bb_1_0.short._batch_norm._mean`, `out.weight`."""
    depth = re.search(r"ResNet(\d+)_vd", backbone)
    if depth is None or int(depth[1]) not in PLANS:
        return None
    starts = (0, *accumulate(PLANS[int(depth[1])].blocks))
    key = key.replace("._conv.", ".conv.").replace("._batch_norm.", ".bn.")
    if stem := re.fullmatch(r"conv1_([123])\.(.+)", key):
        return f"stem.{int(stem[1]) - 1}.{stem[2]}"
    if block := re.fullmatch(r"bb_([0-3])_(\d+)\.(.+)", key):
        return f"blocks.{starts[int(block[1])] + int(block[2])}.{block[3]}"
    if head := re.fullmatch(r"out\.(weight|bias)", key):
        return f"fc.{head[1]}"
    return None


def _staged_mobilenet(_: str, key: str) -> str | None:
    """Names of a detector's backbone, `backbone.stage2.1.…`: stages where the classifier has one flat list of 15
    blocks.

    The last stage's fourth entry is the classifier's `last_second_conv`.
    """
    starts = (0, *accumulate(MOBILENET_V3_LARGE_STAGES))
    if stem := re.fullmatch(r"backbone\.(conv\..+)", key):
        return stem[1]
    block = re.fullmatch(r"backbone\.stage([0-3])\.(\d+)\.(.+)", key)
    if block is None:
        return None
    stage, number = int(block[1]), int(block[2])
    if stage == 3 and number == MOBILENET_V3_LARGE_STAGES[3]:
        return f"last_second_conv.{block[3]}"
    return f"blocks.{starts[stage] + number}.{block[3]}"


KEY_MAPS = (
    KeyMap(("ResNet*_vd", "paddleclas:ResNet*_vd"), r"conv1_1\._conv\.", _old_resnet_vd),
    KeyMap(("paddleclas:MobileNetV3_large_*",), r"backbone\.stage0\.", _staged_mobilenet),
)
