"""Builds feature extractors by name: classifiers up to their global pooling.

A name is `ResNet50_vd` (18, 34, 50, 101), `EfficientNet_lite0` (0, 1, 2), `vision:<name>` for a network of
paddle.vision.models or `paddleclas:<name>` for one of PaddleClas, in upper or lower case. A network of the two
libraries can be cut if its children run one after the other up to one global pooling, which is tried on a small image.
None of theirs is listed here.

A backbone's stages, for freezing and for learning-rate factors, follow from the size of its feature maps: the stem is
the first layer with what follows it at once (norm, activation), and each halving of the map begins another stage.
What runs at the stem's size behind the stem belongs to the stage after it.
"""

import importlib
import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from mammo.errors import SettingsError, did_you_mean
from mammo.model import efficientnet_lite, resnet_vd
from mammo.runtime import paddle

Stages = tuple[tuple[str, ...], ...]
Pieces = list[tuple[str, paddle.nn.Layer]]
PROBE_SIZE_PX = 96  # InceptionV3 takes no smaller image than 75
OWN = (*(f"ResNet{depth}_vd" for depth in resnet_vd.PLANS), *efficientnet_lite.SCALINGS)
VISION = tuple(
    f"vision:{name}" for name in paddle.vision.models.__all__ if inspect.isfunction(getattr(paddle.vision.models, name))
)


@dataclass(frozen=True)
class Backbone:
    """A feature extractor.

    Attributes:
        network: Turns images float32 [N, in_channels, H, W] into a feature map [N, channels, h, w], before global
            pooling; its parameters have the classifier's names.
        channels: Channels of the feature map.
        stages: Parameter-name prefixes per stage, stem first, each ending in a dot; every parameter begins with one.
    """

    network: paddle.nn.Layer
    channels: int
    stages: Stages


def build_features(name: str, in_channels: int = 3) -> Backbone:
    """Build a feature extractor with random weights: the classifier up to its global pooling.

    Args:
        name: `ResNet50_vd`, `EfficientNet_lite0`, `paddleclas:<its name there>` or `vision:<its name in
            paddle.vision.models>`, in any case.
        in_channels: Channels of the input image, 1 or 3.

    Raises:
        SettingsError: The name is unknown, its library is not installed, or the network does not run child after
            child up to one global average pooling, so that it cannot be cut there.
    """
    known = _normal_name(name)
    if known in OWN:
        return _own(known, in_channels)
    backbone = _cut(_classifier(known, in_channels), in_channels)
    if backbone is None:
        wrong = f"does not run child after child up to one global pooling on images of {in_channels} channel(s)"
        others = "vision:resnet50, vision:mobilenet_v3_large, vision:densenet121 and vision:vgg16"
        does = f"those that do: {', '.join(OWN)}, and others such as {others}"
        raise SettingsError(f"model.backbone: {name} {wrong}, so it gives no features; {does}")
    return backbone


def _own(name: str, in_channels: int) -> Backbone:
    """Build one of this project's networks."""
    if name in efficientnet_lite.SCALINGS:
        lite = efficientnet_lite.EfficientNetLiteFeatures(name, in_channels)
        return Backbone(lite, lite.channels, efficientnet_lite.stage_prefixes(name))
    depth = int(name.removeprefix("ResNet").removesuffix("_vd"))
    resnet = resnet_vd.ResNetVdFeatures(depth, in_channels)
    return Backbone(resnet, resnet.channels, resnet_vd.stage_prefixes(depth))


class ChildrenInOrder(paddle.nn.Layer):
    """Runs another network's children one after the other, under their own names."""

    def __init__(self, children: dict[str, paddle.nn.Layer]) -> None:
        super().__init__()
        for name, child in children.items():
            self.add_sublayer(name, child)

    def forward(self, image: paddle.Tensor) -> paddle.Tensor:
        """Turn images [N, C, H, W] into a feature map [N, channels, h, w]."""
        for _, layer in pieces_of(self):
            image = layer(image)
        return image


def pieces_of(network: paddle.nn.Layer) -> Pieces:
    """List the layers that a feature extractor runs one after the other, by the prefix of their parameters' names."""
    pieces: Pieces = []
    for name, child in network.named_children():
        if isinstance(child, paddle.nn.LayerList | paddle.nn.Sequential):
            pieces += [(f"{name}.{key}.", layer) for key, layer in child.named_children()]
        else:
            pieces.append((f"{name}.", child))
    return pieces


def _classifier(name: str, in_channels: int) -> paddle.nn.Layer:
    """Build a whole classifier of paddle.vision.models or PaddleClas, of two classes, with random weights."""
    library, _, title = name.partition(":")
    if library == "vision":
        return _with_input(getattr(paddle.vision.models, title)(num_classes=2), in_channels)
    makers = _paddleclas_makers(name)
    try:
        with _quiet("ppcls"):
            network = makers[title](class_num=2)
    except (TypeError, ValueError) as error:  # it takes other arguments, or fixed names allow one instance per process
        raise SettingsError(f"model.backbone: PaddleClas cannot build {title}: {str(error).splitlines()[0]}") from error
    return _with_input(network, in_channels)


def _cut(network: paddle.nn.Layer, in_channels: int) -> Backbone | None:
    """Cut a classifier before its global pooling, if a small image shows that the part computes what the whole does."""
    children = dict(network.named_children())
    pools = [key for key, child in children.items() if isinstance(child, paddle.nn.AdaptiveAvgPool2D)]
    if not pools or pools[0] == next(iter(children)):
        return None
    features = ChildrenInOrder({key: children[key] for key in list(children)[: list(children).index(pools[0])]})
    pieces = pieces_of(features)
    pooled: list[paddle.Tensor] = []
    hook = children[pools[0]].register_forward_pre_hook(lambda _, inputs: pooled.append(inputs[0]))
    shape = (1, in_channels, PROBE_SIZE_PX, PROBE_SIZE_PX)
    image = paddle.to_tensor(np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape))
    network.eval()
    sizes = []
    try:
        with paddle.no_grad():
            network(image)
            for _, layer in pieces:
                image = layer(image)
                sizes.append(image.shape[2])
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError):
        return None  # it takes more than an image, another size, or the image in two places
    finally:
        hook.remove()
        network.train()
    same_shape = len(pooled) == 1 and pooled[0].ndim == 4 and image.shape == pooled[0].shape
    if not same_shape or not np.allclose(image.numpy(), pooled[0].numpy(), atol=1e-5):
        return None
    return Backbone(features, image.shape[1], _stages(pieces, sizes))


def _stages(pieces: Pieces, sizes: Sequence[int]) -> Stages:
    """Group layers by the height of their feature maps in pixels, as the module's docstring says."""
    first = pieces[0][0].split(".")[0]
    of_first_child = [size for (prefix, _), size in zip(pieces, sizes, strict=True) if prefix.split(".")[0] == first]
    stem = len(of_first_child) if len(set(of_first_child)) == 1 else 1
    while stem < len(pieces) and sizes[stem] == sizes[0] and not pieces[stem][1].sublayers():
        stem += 1
    groups = [pieces[:stem], []]
    for number in range(stem, len(pieces)):
        if sizes[number] < sizes[number - 1] < sizes[0]:
            groups.append([])
        groups[-1].append(pieces[number])
    named = [tuple(prefix for prefix, layer in group if layer.state_dict()) for group in groups]
    return tuple(prefixes for prefixes in named if prefixes)


def _with_input(network: paddle.nn.Layer, in_channels: int) -> paddle.nn.Layer:
    """Rebuild the first convolution's weights where the image has not three channels."""
    if in_channels == 3:
        return network
    stem = next((layer for layer in network.sublayers() if isinstance(layer, paddle.nn.Conv2D)), None)
    if stem is None or stem.weight.shape[1] != 3:
        expected = "expected a network whose first convolution takes 3 channels"
        raise SettingsError(f"model.backbone: {expected}, to give it {in_channels}")
    outputs, _, height, width = stem.weight.shape
    normal = paddle.nn.initializer.Normal(0.0, (2 / (in_channels * height * width)) ** 0.5)
    stem.weight = stem.create_parameter([outputs, in_channels, height, width], default_initializer=normal)
    stem._in_channels = in_channels
    return network


def _normal_name(name: str) -> str:
    """Find the spelling of a name that its library uses."""
    is_paddleclas = name.lower().startswith("paddleclas:")
    known = [f"paddleclas:{title}" for title in _paddleclas_makers(name)] if is_paddleclas else [*OWN, *VISION]
    spellings = {candidate.lower(): candidate for candidate in known}
    if name in known or name.lower() in spellings:
        return name if name in known else spellings[name.lower()]
    hint = did_you_mean(name, known, cutoff=0.4)
    if is_paddleclas:
        raise SettingsError(f"model.backbone: PaddleClas has no network {name.partition(':')[2]!r}{hint}")
    others = "vision:<name> of paddle.vision.models and paddleclas:<name> of PaddleClas"
    raise SettingsError(f"model.backbone: unknown name {name!r}{hint}; known are {', '.join(OWN)}, {others}")


def _paddleclas_makers(name: str) -> dict:
    """Return the functions of PaddleClas that build networks, by name."""
    try:
        zoo = importlib.import_module("paddleclas.ppcls.arch.backbone")
    except ImportError as error:
        needed = 'pip install "mammo[paddleclas]"'
        raise SettingsError(f"model.backbone: {name} needs the extra: {needed} (import said: {error})") from error
    return {key: value for key, value in vars(zoo).items() if inspect.isfunction(value) and key != "get_apis"}


@contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    """Suppress PaddleClas's warnings about its own deprecated calls."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
