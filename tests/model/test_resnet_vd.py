"""Our ResNet-vd against PaddleClas: names, shapes, numbers of parameters, and what it computes."""

import hashlib

import numpy as np
import pytest

from mammo.errors import SettingsError
from mammo.model.resnet_vd import PLANS, ResNetVdFeatures, stage_prefixes
from mammo.runtime import paddle

# SHA-256 of the sorted lines "name [shape]" of paddleclas 2.6.0's state_dict with 1000 classes, computed from
# PaddleClas.
NAMES_AND_SHAPES = {
    18: "a75ccd70f20fff1ff426b2b8bbd49f02bab966b9b3bdf3530775908169bf466d",
    34: "8afacdf254cbec8232897453dfa6ce966f78fd63862c1ce4f7f2b8ef3dd99478",
    50: "622f42c687d3daf6566319a1621a7cd52e967a3a2d50866f89220cd6f4c21039",
    101: "505d75994ec50febe6bf0aed766a1b7a4542de470aecf8188691f2415aa5d65c",
}
TRAINABLE = {18: 11_712_968, 34: 21_821_128, 50: 25_576_264, 101: 44_568_392}  # counted in PaddleClas


@pytest.fixture(scope="module")
def zoo():
    return pytest.importorskip(
        "paddleclas.ppcls.arch.backbone", reason="paddleclas is not installed: the second stack has it"
    )


@pytest.mark.parametrize("depth", PLANS)
def test_names_shapes_and_parameter_counts_are_those_of_paddleclas(depth):
    network = ResNetVdFeatures(depth)
    shapes = {key: list(value.shape) for key, value in network.state_dict().items()}
    shapes |= {"fc.weight": [network.channels, 1000], "fc.bias": [1000]}  # of the classifier, which is cut off
    lines = sorted(f"{key} {shape}" for key, shape in shapes.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == NAMES_AND_SHAPES[depth]
    trainable = sum(parameter.size for parameter in network.parameters() if not parameter.stop_gradient)
    assert trainable + (network.channels + 1) * 1000 == TRAINABLE[depth]


@pytest.mark.parametrize("depth", PLANS)
def test_outputs_and_running_statistics_equal_paddleclas(depth, zoo):
    ours, theirs = ResNetVdFeatures(depth), getattr(zoo, f"ResNet{depth}_vd")(class_num=5)
    state = {**theirs.state_dict(), **ours.state_dict()}  # the last layer is theirs
    theirs.set_state_dict({key: value.numpy() for key, value in state.items()})
    images = (
        np.random.default_rng(depth).standard_normal((2, 3, 43, 57)).astype("float32")
    )  # odd: the averaged edge counts
    for mode in ("train", "eval"):  # in this order: the running statistics of the first serve the second
        getattr(ours, mode)(), getattr(theirs, mode)()
        got = theirs.fc(ours(paddle.to_tensor(images)).mean(axis=[2, 3])).numpy()
        expected = theirs(paddle.to_tensor(images)).numpy()
        assert np.abs(got - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    for key, value in ours.state_dict().items():
        np.testing.assert_allclose(value.numpy(), theirs.state_dict()[key].numpy(), atol=1e-4, err_msg=key)


def test_odd_edge_is_averaged_over_the_pixels_that_are_there():
    from mammo.model.resnet_vd import ConvNorm

    layer = ConvNorm(1, 1, kernel=1, relu=False, halve=True)
    layer.eval()  # running mean 0 and variance 1: batch norm divides by sqrt(1 + 1e-5)
    layer.conv.weight.set_value(np.ones((1, 1, 1, 1), "float32"))
    image = np.arange(9, dtype="float32").reshape(1, 1, 3, 3)
    expected = np.array([[(0 + 1 + 3 + 4) / 4, (2 + 5) / 2], [(6 + 7) / 2, 8]])
    np.testing.assert_allclose(layer(paddle.to_tensor(image)).numpy()[0, 0], expected, rtol=1e-4)


def test_features_are_one_thirty_second_of_the_image():
    features = ResNetVdFeatures(18, in_channels=1)
    features.eval()
    assert features(paddle.zeros([2, 1, 96, 64])).shape == [2, 512, 3, 2]


def test_every_feature_parameter_belongs_to_one_stage():
    names = [name for name, _ in ResNetVdFeatures(101).named_parameters()]
    stages = stage_prefixes(101)
    owners = [[number for number, prefixes in enumerate(stages) if name.startswith(prefixes)] for name in names]
    assert all(len(owner) == 1 for owner in owners)
    assert sorted({owner[0] for owner in owners}) == [0, 1, 2, 3, 4]


def test_unknown_depth_raises():
    with pytest.raises(SettingsError, match="expected a depth of 18, 34, 50, 101, got 42"):
        ResNetVdFeatures(42)
