"""The table of backbones: every name builds, and errors tell what to do."""

import importlib.util

import numpy as np
import pytest

from mammo.errors import SettingsError
from mammo.model.backbone import BACKBONES, build, build_features
from mammo.runtime import paddle

HAS_PADDLECLAS = importlib.util.find_spec("paddleclas") is not None
needs_paddleclas = pytest.mark.skipif(not HAS_PADDLECLAS, reason="paddleclas is not installed: the second stack has it")
NAMES = [pytest.param(name, marks=needs_paddleclas) if name.startswith("paddleclas:") else name for name in BACKBONES]


@pytest.mark.parametrize("name", NAMES)
def test_every_name_builds_and_sees_a_gray_image(name):
    backbone = build_features(name, in_channels=1)
    backbone.network.eval()
    assert backbone.network(paddle.zeros([1, 1, 64, 64])).shape == [1, backbone.channels, 2, 2]
    for parameter, _ in backbone.network.named_parameters():
        assert sum(parameter.startswith(prefixes) for prefixes in backbone.stages) == 1, parameter
    assert len(backbone.stages) == 5


@pytest.mark.parametrize("name", ["ResNet18_vd", "vision:mobilenet_v3_small", *NAMES[-4:-3]])
def test_features_carry_the_names_of_the_classifier(name):
    classifier = build(name, num_classes=3, in_channels=3)
    classifier.eval()
    assert classifier(paddle.zeros([2, 3, 64, 64])).shape == [2, 3]
    backbone = build_features(name)
    shapes = {key: tuple(value.shape) for key, value in classifier.state_dict().items()}
    assert {key: tuple(value.shape) for key, value in backbone.network.state_dict().items()}.items() <= shapes.items()


def test_vision_features_are_what_the_classifier_pools():
    backbone, classifier = build_features("vision:resnet18"), build("vision:resnet18", num_classes=2)
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
        build("paddleclas:ResNet50_vdd")


@pytest.mark.skipif(HAS_PADDLECLAS, reason="paddleclas is installed: the first stack lacks it")
def test_paddleclas_backbone_without_paddleclas_names_the_extra():
    with pytest.raises(SettingsError, match=r'needs the extra: pip install "mammo\[paddleclas\]"'):
        build_features("paddleclas:MobileNetV3_large_x0_5")


@pytest.mark.parametrize(("name", "near"), [("ResNet50vd", "ResNet50_vd"), ("vision:resnet51", "vision:resnet50")])
def test_unknown_name_suggests_the_nearest(name, near):
    with pytest.raises(SettingsError, match=f"unknown name '{name}'; did you mean {near}"):
        build(name)


@needs_paddleclas
def test_two_image_convolutions_do_not_take_a_gray_image():
    with pytest.raises(
        SettingsError, match="RepVGG_A0 does not run child after child up to one global pooling on images of 1 channel"
    ):
        build_features("paddleclas:RepVGG_A0", in_channels=1)


@needs_paddleclas
def test_a_network_that_paddleclas_cannot_build_twice_is_one_line():
    build("paddleclas:SqueezeNet1_1")
    with pytest.raises(
        SettingsError, match=r"PaddleClas cannot build SqueezeNet1_1: parameter name \[\w+\] have be been used"
    ):
        build("paddleclas:SqueezeNet1_1")
