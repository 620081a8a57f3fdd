"""Backbones: every network that can be cut gives features in stages, and errors say what to do."""

import importlib
import importlib.util

import numpy as np
import pytest

from mammo.errors import SettingsError
from mammo.model.backbone import OWN, VISION, build_features
from mammo.runtime import paddle
from mammo.settings.schema import ModelSettings

HAS_PADDLECLAS = importlib.util.find_spec("paddleclas") is not None
needs_paddleclas = pytest.mark.skipif(not HAS_PADDLECLAS, reason="paddleclas is not installed: the second stack has it")
PADDLECLAS = [
    *(f"paddleclas:MobileNetV3_{size}_{width}" for size in ("small", "large") for width in ("x0_35", "x0_5", "x0_75")),
    *(f"paddleclas:MobileNetV3_{size}_{width}" for size in ("small", "large") for width in ("x1_0", "x1_25")),
    *(f"paddleclas:{name}" for name in OWN if name.startswith("ResNet")),
]
OF_PADDLECLAS = [pytest.param(name, marks=needs_paddleclas) for name in PADDLECLAS]
# One small network of each family in paddle.vision.models, and those that runs have used; how many stages each has.
SMALL = {
    "vision:resnet18": 5, "vision:resnet34": 5, "vision:resnet50": 5, "vision:resnet101": 5,
    "vision:resnext50_32x4d": 5, "vision:wide_resnet50_2": 5, "vision:vgg11": 5, "vision:mobilenet_v1": 5,
    "vision:mobilenet_v2": 5, "vision:mobilenet_v3_small": 5, "vision:mobilenet_v3_large": 5, "vision:densenet121": 5,
    "vision:inception_v3": 3, "vision:shufflenet_v2_x0_25": 4,
}  # fmt: skip
UNCUTTABLE = {"vision:alexnet", "vision:googlenet", "vision:squeezenet1_0", "vision:squeezenet1_1"}


@pytest.mark.parametrize("name", [*OWN, *SMALL, *OF_PADDLECLAS])
def test_every_name_gives_features_of_a_gray_image_in_stages(name):
    backbone = build_features(name, in_channels=1)
    backbone.network.eval()
    shape = backbone.network(paddle.zeros([1, 1, 96, 96])).shape
    assert shape[:2] == [1, backbone.channels]
    assert len(shape) == 4
    for parameter, _ in backbone.network.named_parameters():
        assert sum(parameter.startswith(prefixes) for prefixes in backbone.stages) == 1, parameter
    assert len(backbone.stages) == SMALL.get(name, 5)


# As runs with freezing or learning-rate factors by stage have used them.
STAGES = {
    "EfficientNet_lite0": [
        ["_conv_stem", "_bn0"], [f"_blocks.{number}" for number in range(3)], ["_blocks.3", "_blocks.4"],
        [f"_blocks.{number}" for number in range(5, 11)],
        [*(f"_blocks.{number}" for number in range(11, 16)), "_conv_head", "_bn1"],
    ],
    "vision:resnet18": [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]],
    "vision:mobilenet_v3_small": [["conv"], [0], [1, 2], [3, 4, 5, 6, 7], [8, 9, 10, "lastconv"]],
    "vision:mobilenet_v3_large": [["conv"], [0, 1, 2], [3, 4, 5], [6, 7, 8, 9, 10, 11], [12, 13, 14, "lastconv"]],
    "paddleclas:MobileNetV3_small_x0_35": [["conv"], [0], [1, 2], [3, 4, 5, 6, 7], [8, 9, 10, "last_second_conv"]],
    "paddleclas:MobileNetV3_large_x0_5": [
        ["conv"], [0, 1, 2], [3, 4, 5], [6, 7, 8, 9, 10, 11], [12, 13, 14, "last_second_conv"],
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_paddleclas) if name in PADDLECLAS else name for name in STAGES]
)
def test_stages_follow_the_size_of_the_feature_maps(name):
    backbone = build_features(name)
    for stage, expected in enumerate(STAGES[name]):
        prefixes = tuple(f"blocks.{part}." if isinstance(part, int) else f"{part}." for part in expected)
        for parameter, _ in backbone.network.named_parameters():
            assert parameter.startswith(prefixes) == parameter.startswith(backbone.stages[stage]), parameter


def test_every_network_of_paddle_is_known():
    assert set(SMALL) | UNCUTTABLE <= set(VISION)
    assert {name.partition(":")[2] for name in VISION} <= set(paddle.vision.models.__all__)


@pytest.mark.parametrize("name", sorted(UNCUTTABLE))
def test_a_network_of_paddle_that_cannot_be_cut_names_those_that_can(name):
    with pytest.raises(SettingsError, match=rf"{name} does not run child after child .* those that do: ResNet18_vd"):
        build_features(name)


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("resnet50_VD", "ResNet50_vd"),
        ("RESNET18_vd", "ResNet18_vd"),
        ("efficientnet_LITE0", "EfficientNet_lite0"),
        ("EfficientNet_lite2", "EfficientNet_lite2"),
        ("Vision:ResNet18", "vision:resnet18"),
        ("PaddleClas:mobilenetv3_LARGE_x0_5", "paddleclas:MobileNetV3_large_x0_5"),
        ("paddleclas:resnet50_vd", "paddleclas:ResNet50_vd"),
        ("paddleclas:PPLCNet_x0_25", "paddleclas:PPLCNet_x0_25"),
    ],
)
def test_names_in_any_case_get_their_normal_form(given, normal):
    assert ModelSettings(backbone=given).backbone == normal


@pytest.mark.parametrize("name", ["RESNET18_VD", "Vision:MobileNet_V3_Small", "efficientnet_LITE1"])
def test_a_name_in_any_case_builds(name):
    assert build_features(name).channels in (512, 576, 1280)


@needs_paddleclas
def test_a_paddleclas_name_in_any_case_builds():
    assert build_features("PaddleClas:pplcnet_X0_25").channels == build_features("paddleclas:PPLCNet_x0_25").channels


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("vision:mobilenet_v3_small", "paddle.vision.models"),
        pytest.param("ResNet18_vd", "paddleclas.ppcls.arch.backbone", marks=needs_paddleclas),
        pytest.param("paddleclas:ResNet18_vd", "paddleclas.ppcls.arch.backbone", marks=needs_paddleclas),
    ],
)
def test_features_carry_the_names_of_the_classifier(name, library):
    classifier = getattr(importlib.import_module(library), name.rpartition(":")[2])()
    backbone = build_features(name)
    shapes = {key: tuple(value.shape) for key, value in classifier.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in backbone.network.state_dict().items()}.items() <= shapes.items()


def test_vision_features_are_what_the_classifier_pools():
    backbone, classifier = build_features("vision:resnet18"), paddle.vision.models.resnet18(num_classes=2)
    backbone.network.set_state_dict(
        {key: classifier.state_dict()[key].numpy() for key in backbone.network.state_dict()}
    )
    backbone.network.eval(), classifier.eval()
    images = paddle.to_tensor(np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype("float32"))
    pooled = backbone.network(images).mean(axis=[2, 3])
    np.testing.assert_allclose(classifier.fc(pooled).numpy(), classifier(images).numpy(), atol=1e-4)


@needs_paddleclas
def test_mobilenet_features_have_480_channels_and_no_last_conv():
    backbone = build_features("paddleclas:MobileNetV3_large_x0_5")
    assert backbone.channels == 480
    assert not any(key.startswith(("last_conv", "fc")) for key in backbone.network.state_dict())
    # 790,390 values in the backbone's published weight file, running statistics included.
    assert sum(value.size for value in backbone.network.state_dict().values()) == 790_390


@needs_paddleclas
def test_a_paddleclas_network_outside_the_table_gives_features():
    backbone = build_features("paddleclas:PPLCNet_x0_25", in_channels=1)
    assert backbone.network(paddle.zeros([1, 1, 64, 64])).shape == [1, backbone.channels, 2, 2]


@needs_paddleclas
def test_a_network_without_one_global_pooling_raises():
    with pytest.raises(SettingsError, match=r"PeleeNet does not run child after child .* those that do: ResNet18_vd"):
        build_features("paddleclas:PeleeNet")


@needs_paddleclas
def test_unknown_paddleclas_name_suggests_the_nearest():
    with pytest.raises(SettingsError, match="no network 'ResNet50_vdd'; did you mean paddleclas:ResNet50_vd"):
        build_features("paddleclas:ResNet50_vdd")


@pytest.mark.skipif(HAS_PADDLECLAS, reason="paddleclas is installed: the first stack lacks it")
def test_paddleclas_backbone_without_paddleclas_names_the_extra():
    with pytest.raises(SettingsError, match=r'needs the extra: pip install "mammo\[paddleclas\]"'):
        build_features("paddleclas:MobileNetV3_large_x0_5")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("ResNet50vd", "ResNet50_vd"),
        ("EfficientNet_light0", "EfficientNet_lite0"),
        ("vision:resnet51", "vision:resnet50"),
    ],
)
def test_unknown_name_suggests_the_nearest(name, near):
    with pytest.raises(SettingsError, match=f"unknown name '{name}'; did you mean {near}"):
        build_features(name)


@needs_paddleclas
def test_two_image_convolutions_do_not_take_a_gray_image():
    with pytest.raises(
        SettingsError, match="RepVGG_A0 does not run child after child up to one global pooling on images of 1 channel"
    ):
        build_features("paddleclas:RepVGG_A0", in_channels=1)


@needs_paddleclas
def test_a_network_that_paddleclas_cannot_build_twice_is_one_line():
    with pytest.raises(SettingsError, match="SqueezeNet1_1 does not run child after child"):
        build_features("paddleclas:SqueezeNet1_1")
    with pytest.raises(
        SettingsError, match=r"PaddleClas cannot build SqueezeNet1_1: parameter name \[\w+\] have be been used"
    ):
        build_features("paddleclas:SqueezeNet1_1")
