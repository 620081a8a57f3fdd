"""EfficientNet-lite: names, shapes and numbers of parameters, "SAME" padding, odd sizes, frozen program and export."""

import hashlib
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from mammo.model.backbone import build_features, pieces_of
from mammo.model.efficientnet_lite import SCALINGS, EfficientNetLiteFeatures, stage_prefixes
from mammo.model.frozen import PARAMETERS_ENDING, PROGRAM_ENDINGS, FrozenPart, silent
from mammo.model.network import DeployedNet, build_network
from mammo.runtime import paddle
from mammo.serving.engines import NETWORK, ONNX_FILE, installed_engines, open_engine
from mammo.serving.export import CLOSE_ENOUGH, OPSET
from mammo.settings.schema import ModelSettings

# SHA-256 of the sorted lines "name [shape]" of the published PyTorch files with paddle's names of running statistics,
# without the classifier and the counters of batches.
NAMES_AND_SHAPES = {
    "EfficientNet_lite0": "6382063d39032dfeaa8c741c5594232b5af5c9239183e1b38bc43245c3fabe07",
    "EfficientNet_lite1": "7c5d8fb5046b0d9d8f9948aaf2458404b561c4636a58c41f9f52a605f63d9903",
    "EfficientNet_lite2": "34312fc2e0a9dedbb49963b409aca8869928fb874aa191703c868c86472ac304",
}
# Counted in the published files; the whole classifiers have 4.7, 5.4 and 6.1 million in the authors' table.
TRAINABLE = {"EfficientNet_lite0": 3_371_008, "EfficientNet_lite1": 4_135_680, "EfficientNet_lite2": 4_811_072}


def varied(network, seed=0):
    """Give batch-norms running statistics that no two channels share, as training does."""
    rng = np.random.default_rng(seed)
    for layer in network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer._mean.set_value(rng.normal(0, 0.1, layer._mean.shape).astype("float32"))
            layer._variance.set_value(rng.uniform(0.5, 2, layer._variance.shape).astype("float32"))
    network.eval()
    return network


def images(*shape, seed=1):
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal(shape).astype("float32"))


@pytest.mark.parametrize("name", SCALINGS)
def test_names_shapes_and_parameter_counts_are_those_of_the_published_files(name):
    network = EfficientNetLiteFeatures(name)
    lines = sorted(f"{key} {list(value.shape)}" for key, value in network.state_dict().items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == NAMES_AND_SHAPES[name]
    assert sum(parameter.size for parameter in network.parameters() if not parameter.stop_gradient) == TRAINABLE[name]


@pytest.mark.parametrize("name", SCALINGS)
def test_every_parameter_belongs_to_one_stage(name):
    stages = stage_prefixes(name)
    for key, _ in EfficientNetLiteFeatures(name).named_parameters():
        assert sum(key.startswith(prefixes) for prefixes in stages) == 1, key


@pytest.mark.parametrize("name", SCALINGS)
def test_each_stage_halves_the_map(name):
    backbone = build_features(name, in_channels=1)
    image, sizes = images(1, 1, 97, 64), {}
    for prefix, layer in pieces_of(backbone.network):
        image = layer(image)
        stage = next((number for number, prefixes in enumerate(backbone.stages) if prefix in prefixes), None)
        sizes[stage] = image.shape[2:]
    assert [sizes[stage] for stage in range(5)] == [[49, 32], [25, 16], [13, 8], [7, 4], [4, 2]]


def padded_by_hand(image, weight, *, stride, groups):
    """Convolve with TensorFlow's "SAME": ceil(size / stride) outputs; of an odd padding, the larger part comes last."""
    pads = []
    for size, kernel in zip(image.shape[2:], weight.shape[2:], strict=True):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        pads.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = pads
    image = paddle.nn.functional.pad(image, [left, right, top, bottom])
    return paddle.nn.functional.conv2d(image, weight, stride=stride, groups=groups)


@pytest.mark.parametrize("size", [(16, 16), (17, 20), (7, 9)])
def test_padding_is_larger_at_the_bottom_and_right(size):
    network = EfficientNetLiteFeatures("EfficientNet_lite0")
    convolutions = [network._conv_stem, *(block._depthwise_conv for block in network._blocks)]
    assert {(layer._kernel_size[0], layer._stride[0]) for layer in convolutions} == {(3, 1), (3, 2), (5, 1), (5, 2)}
    for layer in convolutions:
        image = images(1, layer._in_channels, *size)
        expected = padded_by_hand(image, layer.weight, stride=layer._stride[0], groups=layer._groups)
        np.testing.assert_allclose(layer(image).numpy(), expected.numpy(), atol=1e-6)


def test_training_moves_every_parameter_on_an_odd_size():
    network = EfficientNetLiteFeatures("EfficientNet_lite0", in_channels=1)
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    optimizer = paddle.optimizer.Momentum(0.1, parameters=network.parameters())
    features = network(images(2, 1, 97, 97))
    assert features.shape == [2, 1280, 4, 4]
    (features * images(*features.shape)).sum().backward()
    optimizer.step()
    for key, value in network.state_dict().items():
        assert not np.array_equal(value.numpy(), before[key]), key


@pytest.mark.parametrize("layers", [1, 3, 14, 22])  # a convolution, the stem, the stages up to stride 16, all
def test_the_frozen_program_equals_dygraph(layers):
    network = varied(EfficientNetLiteFeatures("EfficientNet_lite0", in_channels=1))
    parts = [layer for _, layer in pieces_of(network)[:layers]]
    frozen = FrozenPart(parts, 1)
    for size in ((64, 64), (97, 75)):
        films = images(2, 1, *size)
        expected = films
        for layer in parts:
            expected = layer(expected)
        np.testing.assert_allclose(frozen(films).numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [64, 97])
def test_the_exported_form_gives_the_networks_logits(size):
    converter = pytest.importorskip("paddle2onnx", reason="needs the extra export")
    network, backbone = build_network(ModelSettings(backbone="EfficientNet_lite0"), task="lesion")
    varied(backbone.network)
    network.head.weight.set_value(images(*network.head.weight.shape, seed=2))
    network.eval()
    image, present = images(3, 1, 1, size, size), np.ones((3, 1), bool)
    logits = network(image, paddle.to_tensor(present)).numpy()
    assert np.ptp(logits) > 1  # else equal logits would prove nothing
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        spec = [paddle.static.InputSpec([None, *image.shape[1:]], "float32", "image")]
        with silent():
            paddle.jit.save(DeployedNet(network, views=1), str(folder / NETWORK), input_spec=spec)
            program = next(path for path in folder.iterdir() if path.suffix in PROGRAM_ENDINGS)
            how = {"optimize_tool": None} if not version("paddle2onnx").startswith("1.") else {}
            parameters, onnx = folder / f"{NETWORK}{PARAMETERS_ENDING}", folder / ONNX_FILE
            converter.export(str(program), str(parameters), save_file=str(onnx), opset_version=OPSET, **how)
        for engine in installed_engines():
            got = open_engine(folder, engine, threads=1)(image.numpy(), present)
            np.testing.assert_allclose(got, logits[:, 1] - logits[:, 0], rtol=CLOSE_ENOUGH, atol=CLOSE_ENOUGH)
