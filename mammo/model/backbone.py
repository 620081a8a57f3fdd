"""A backbone's name enters; a classifier, or the feature extractor below its global pooling, leaves."""

import difflib
import importlib
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from mammo.errors import SettingsError
from mammo.model.resnet_vd import PLANS, ResNetVd, ResNetVdFeatures, stage_prefixes
from mammo.runtime import paddle

Stages = tuple[tuple[str, ...], ...]
PROBE_SIZE_PX = 64
# What a network raises that takes more than an image, another image size, or the image in two places; what is not
# implemented (NotImplementedError) is a RuntimeError.
CANNOT_RUN = (TypeError, ValueError, AttributeError, RuntimeError)


@dataclass(frozen=True)
class Recipe:
    """One row of the table.

    Attributes:
        library: Whose network it is.
        title: Its name there (`own`: the depth).
        stages: Parameter-name prefixes per stage, stem first; empty: one stage per child of the network.
    """

    library: Literal["own", "vision", "paddleclas"]
    title: str
    stages: Stages = ()


@dataclass(frozen=True)
class Backbone:
    """A feature extractor.

    Attributes:
        network: Images [N, in_channels, H, W] to a feature map [N, channels, h, w], before global pooling; its parameters
            have the classifier's names.
        channels: Channels of the feature map.
        stages: Parameter-name prefixes per stage, stem first, each ending in a dot; every parameter begins with one of them.
    """

    network: paddle.nn.Layer
    channels: int
    stages: Stages


def build(name: str, num_classes: int = 2, in_channels: int = 3) -> paddle.nn.Layer:
    """Build a whole classifier with random weights.

    Args:
        name: `ResNet50_vd`, `paddleclas:<its name there>` or `vision:<its name in paddle.vision.models>`.
        num_classes: Logits per image.
        in_channels: Channels of the input image, 1 or 3.

    Raises:
        SettingsError: The name is unknown, or its library is not installed.
    """
    recipe = _recipe(name)
    if recipe.library == "own":
        return ResNetVd(int(recipe.title), num_classes, in_channels)
    if recipe.library == "vision":
        network = getattr(paddle.vision.models, recipe.title)(num_classes=num_classes)
    else:
        network = _paddleclas_network(name, recipe.title, num_classes)
    return _with_input(network, in_channels)


def build_features(name: str, in_channels: int = 3) -> Backbone:
    """Build a feature extractor with random weights: the classifier up to its global pooling.

    Args:
        name: As for `build`.
        in_channels: Channels of the input image, 1 or 3.

    Raises:
        SettingsError: The name is unknown, its library is not installed, or the network does not run child after child up to
            one global average pooling, so that it cannot be cut there.
    """
    recipe = _recipe(name)
    if recipe.library == "own":
        depth = int(recipe.title)
        network = ResNetVdFeatures(depth, in_channels)
        return Backbone(network, network.channels, stage_prefixes(depth))
    return _cut(build(name, in_channels=in_channels), name, recipe.stages, in_channels)


class ChildrenInOrder(paddle.nn.Layer):
    """Runs another network's children one after the other, under their own names."""

    def __init__(self, children: dict[str, paddle.nn.Layer]) -> None:
        super().__init__()
        self.order = tuple(children)
        for name, child in children.items():
            self.add_sublayer(name, child)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        """Turn images [N, C, H, W] into a feature map [N, channels, h, w]."""
        for name in self.order:
            child = self._sub_layers[name]
            for layer in child if isinstance(child, paddle.nn.LayerList) else (child,):
                image = layer(image)
        return image


def pieces_of(network: paddle.nn.Layer) -> list[tuple[str, paddle.nn.Layer]]:
    """The layers that a feature extractor runs one after the other, by the names that their parameters begin with."""
    children = dict(network.named_children())
    order = network.order if isinstance(network, ChildrenInOrder) else tuple(children)
    pieces: list[tuple[str, paddle.nn.Layer]] = []
    for name in order:
        inner = children[name]
        several = isinstance(inner, paddle.nn.LayerList | paddle.nn.Sequential)
        pieces += (
            [(f"{name}.{key}.", layer) for key, layer in inner.named_children()] if several else [(f"{name}.", inner)]
        )
    return pieces


def _cut(network: paddle.nn.Layer, name: str, stages: Stages, in_channels: int) -> Backbone:
    """Cut a classifier before its global pooling, and prove on a small image that the part computes what the whole did."""
    children = dict(network.named_children())
    pools = [key for key, child in children.items() if isinstance(child, paddle.nn.AdaptiveAvgPool2D)]
    before = {key: children[key] for key in list(children)[: list(children).index(pools[0])]} if pools else {}
    if not before:
        raise SettingsError(_uncuttable(name, in_channels))
    features = ChildrenInOrder(before)
    expected = _seen_by(network, children[pools[0]], in_channels)
    channels = _channels(features, expected, in_channels)
    if channels is None:
        raise SettingsError(_uncuttable(name, in_channels))
    names = [key for key, child in before.items() if child.state_dict()]
    return Backbone(features, channels, stages or tuple((f"{key}.",) for key in names))


def _seen_by(network: paddle.nn.Layer, pool: paddle.nn.Layer, in_channels: int) -> np.ndarray | None:
    """Return what enters the pooling layer when the whole classifier looks at the probe."""
    seen: list[np.ndarray] = []
    handle = pool.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy()))
    try:
        _in_eval_mode(network, in_channels)
    except CANNOT_RUN:
        return None
    finally:
        handle.remove()
    return seen[0] if len(seen) == 1 else None


def _channels(features: paddle.nn.Layer, expected: np.ndarray | None, in_channels: int) -> int | None:
    """Return the channels of the feature map, or None where it is not what the classifier pools."""
    if expected is None or expected.ndim != 4:
        return None
    try:
        got = _in_eval_mode(features, in_channels).numpy()
    except CANNOT_RUN:
        return None
    return int(got.shape[1]) if got.shape == expected.shape and np.allclose(got, expected, atol=1e-5) else None


def _in_eval_mode(network: paddle.nn.Layer, in_channels: int) -> paddle.Tensor:
    shape = (1, in_channels, PROBE_SIZE_PX, PROBE_SIZE_PX)
    probe = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    network.eval()
    with paddle.no_grad():
        output = network(paddle.to_tensor(probe))
    network.train()
    return output


def _with_input(network: paddle.nn.Layer, in_channels: int) -> paddle.nn.Layer:
    """Rebuild the first convolution's weights where the image has not three channels."""
    if in_channels == 3:
        return network
    stem = next((layer for layer in network.sublayers() if isinstance(layer, paddle.nn.Conv2D)), None)
    if stem is None or stem.weight.shape[1] != 3:
        raise SettingsError(
            f"model.backbone: expected a network whose first convolution takes 3 channels, to give it {in_channels}"
        )
    outputs, _, height, width = stem.weight.shape
    normal = paddle.nn.initializer.Normal(0.0, (2 / (in_channels * height * width)) ** 0.5)
    stem.weight = stem.create_parameter([outputs, in_channels, height, width], default_initializer=normal)
    stem._in_channels = in_channels
    return network


def _recipe(name: str) -> Recipe:
    if name in BACKBONES:
        return BACKBONES[name]
    library, _, title = name.partition(":")
    if library == "paddleclas" and title:
        return Recipe(
            "paddleclas", title
        )  # the table names those with stages; PaddleClas itself says what else there is
    near = difflib.get_close_matches(name, BACKBONES, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    known = ", ".join(BACKBONES)
    raise SettingsError(f"model.backbone: unknown name {name!r}{hint}; known are {known}, and any paddleclas:<name>")


def _paddleclas_network(name: str, title: str, num_classes: int) -> paddle.nn.Layer:
    try:
        zoo = importlib.import_module("paddleclas.ppcls.arch.backbone")
    except ImportError as error:
        raise SettingsError(
            f'model.backbone: {name} needs the extra: pip install "mammo[paddleclas]" (import said: {error})'
        ) from error
    makers = {key: value for key, value in vars(zoo).items() if inspect.isfunction(value) and key != "get_apis"}
    if title not in makers:
        near = difflib.get_close_matches(title, makers, n=1, cutoff=0.4)
        hint = f"; did you mean paddleclas:{near[0]}?" if near else ""
        raise SettingsError(f"model.backbone: PaddleClas has no network {title!r}{hint}")
    try:
        with _quiet("ppcls"):
            return makers[title](class_num=num_classes)
    except (TypeError, ValueError) as error:  # it takes other arguments, or fixed names allow one instance per process
        raise SettingsError(f"model.backbone: PaddleClas cannot build {title}: {str(error).splitlines()[0]}") from error


@contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    """Hold back PaddleClas's warnings about its own deprecated calls."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _uncuttable(name: str, in_channels: int) -> str:
    return (
        f"model.backbone: {name} does not run child after child up to one global pooling on images of {in_channels} channel(s), "
        f"so it gives no features; those that do: {', '.join(BACKBONES)}"
    )


def _grouped(stem: tuple[str, ...], blocks: str, counts: tuple[int, ...], last: str) -> Stages:
    """Number blocks through stages; what comes after the blocks belongs to the last stage."""
    starts = (0, *accumulate(counts))
    stages = [
        tuple(f"{blocks}.{start + i}." for i in range(count)) for start, count in zip(starts, counts, strict=False)
    ]
    return (stem, *stages[:-1], (*stages[-1], last))


def _table() -> dict[str, Recipe]:
    large, small = (3, 3, 6, 3), (1, 2, 5, 3)  # blocks between down-samplings (Howard et al., 2019, tables 1 and 2)
    table: dict[str, Recipe] = {f"ResNet{depth}_vd": Recipe("own", str(depth)) for depth in PLANS}
    layers: Stages = (("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",))
    for title in ("resnet18", "resnet34", "resnet50", "resnet101"):
        table[f"vision:{title}"] = Recipe("vision", title, layers)
    for title, counts in (("mobilenet_v3_small", small), ("mobilenet_v3_large", large)):
        table[f"vision:{title}"] = Recipe("vision", title, _grouped(("conv.",), "blocks", counts, "lastconv."))
    for size, counts in (("small", small), ("large", large)):
        for width in ("x0_35", "x0_5", "x0_75", "x1_0", "x1_25"):
            title = f"MobileNetV3_{size}_{width}"
            table[f"paddleclas:{title}"] = Recipe(
                "paddleclas", title, _grouped(("conv.",), "blocks", counts, "last_second_conv.")
            )
    for depth in PLANS:
        table[f"paddleclas:ResNet{depth}_vd"] = Recipe("paddleclas", f"ResNet{depth}_vd", stage_prefixes(depth))
    return table


BACKBONES: dict[str, Recipe] = _table()
