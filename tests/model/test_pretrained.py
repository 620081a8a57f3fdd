"""Weights into backbones: by the network's names, by older names, from the real file; and every way they do not fit."""

import functools
import importlib.util
import io
import pickle
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from mammo.errors import WeightsError
from mammo.model.backbone import build_features
from mammo.model.pretrained import SSLD_URLS, load_pretrained, mapped
from mammo.model.tensors import sha256_of, write_tensors
from mammo.model.unpickle import load_weights
from mammo.runtime import paddle
from tests.shared_data import SHARED, needs

REAL = ("weights", "MobileNetV3_large_x0_5_pretrained.pdparams")
FILMS = ("cbis_ddsm_mass_800", "manifest.csv")
MOBILENET = "paddleclas:MobileNetV3_large_x0_5"
needs_paddleclas = pytest.mark.skipif(
    importlib.util.find_spec("paddleclas") is None, reason="paddleclas is not installed: the second stack has it"
)


@functools.lru_cache(maxsize=1)
def ssld_form(name="ResNet18_vd", seed=0):
    """Random arrays under the keys and shapes of a published file: a classifier of 1000 classes."""
    rng = np.random.default_rng(seed)
    backbone = build_features(name)
    shapes = {key: tuple(value.shape) for key, value in backbone.network.state_dict().items()}
    shapes |= {"fc.weight": (backbone.channels, 1000), "fc.bias": (1000,)}
    return {key: rng.random(shape).astype("float32") for key, shape in shapes.items()}


def written(path, tensors):
    path.write_bytes(pickle.dumps(tensors, 2))
    return path


def test_a_file_of_ssld_form_loads_whole_and_its_head_is_extra(tmp_path):
    tensors = ssld_form("ResNet50_vd")
    backbone = build_features("ResNet50_vd")
    report = load_pretrained(backbone, "ResNet50_vd", str(written(tmp_path / "w.pdparams", tensors)))
    assert report.extra == ("fc.weight", "fc.bias")
    assert report.missing == report.misshaped == ()
    assert len(report.loaded) == 275  # 55 convolutions, each with its norm's four arrays
    for key, value in backbone.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), tensors[key])
    assert report.summary() == "275 parameters loaded, 0 missing, 2 extra (fc.weight, fc.bias), 0 mis-shaped"


def old_name(key):
    """Name a parameter of ResNet18_vd as PaddleClas before 2.2 did: two blocks per stage."""
    key = key.replace(".conv.", "._conv.").replace(".bn.", "._batch_norm.").replace("fc.", "out.")
    key = re.sub(r"^stem\.(\d)", lambda m: f"conv1_{int(m[1]) + 1}", key)
    return re.sub(r"^blocks\.(\d)", lambda m: f"bb_{int(m[1]) // 2}_{int(m[1]) % 2}", key)


def test_a_file_with_paddleclas_older_names_loads_whole(tmp_path):
    tensors = ssld_form()
    old = {old_name(key): value for key, value in tensors.items()}
    assert {
        "conv1_1._conv.weight",
        "bb_3_1.conv1._batch_norm._mean",
        "bb_1_0.short._conv.weight",
        "out.bias",
    } < old.keys()
    assert mapped("ResNet18_vd", old).keys() == tensors.keys()
    backbone = build_features("ResNet18_vd")
    load_pretrained(backbone, "ResNet18_vd", str(written(tmp_path / "w.pdparams", old)))
    for key, value in backbone.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), tensors[key])


def test_the_networks_own_names_need_no_map():
    own = {name: np.ones(1) for name in ("stem.0.conv.weight", "blocks.0.conv0.conv.weight")}
    assert mapped("ResNet50_vd", own) == own


def test_a_gray_stem_with_summed_weights_sees_what_three_equal_channels_saw(tmp_path):
    path = written(tmp_path / "w.pdparams", ssld_form())
    gray, color = build_features("ResNet18_vd", in_channels=1), build_features("ResNet18_vd")
    load_pretrained(gray, "ResNet18_vd", str(path), gray="sum")
    load_pretrained(color, "ResNet18_vd", str(path))
    image = np.random.default_rng(1).random((1, 1, 32, 32)).astype("float32")
    stem = gray.network.stem[0].conv, color.network.stem[0].conv
    got, expected = stem[0](paddle.to_tensor(image)), stem[1](paddle.to_tensor(np.repeat(image, 3, axis=1)))
    np.testing.assert_allclose(got.numpy(), expected.numpy(), rtol=1e-5)


def test_safetensors_load_too(tmp_path):
    write_tensors(tmp_path / "w.safetensors", ssld_form())
    assert (
        len(load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(tmp_path / "w.safetensors")).loaded)
        == 115
    )


def without(tensors, *prefixes):
    return {key: value for key, value in tensors.items() if not key.startswith(prefixes)}


def test_missing_parameters_raise_with_count_and_names_and_change_nothing(tmp_path):
    tensors = without(ssld_form(), "blocks.7.conv0.bn", "stem.0.conv.weight")
    backbone = build_features("ResNet18_vd")
    before = {key: value.numpy().copy() for key, value in backbone.network.state_dict().items()}
    with pytest.raises(
        WeightsError,
        match=r"does not fit ResNet18_vd: 5 parameters missing \(stem\.0\.conv\.weight, blocks\.7\.conv0\.bn\.w",
    ):
        load_pretrained(backbone, "ResNet18_vd", str(written(tmp_path / "w.pdparams", tensors)))
    for key, value in backbone.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[key])


def test_a_missing_head_is_allowed(tmp_path):
    path = written(tmp_path / "w.pdparams", without(ssld_form(), "fc."))
    assert load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(path)).extra == ()


def test_the_weights_of_another_depth_raise_with_shapes(tmp_path):
    path = written(tmp_path / "w.pdparams", ssld_form("ResNet34_vd"))
    with pytest.raises(
        WeightsError,
        match=r"of another shape \(blocks\.2\.conv0\.conv\.weight \[128, 64, 3, 3\] expected, \[64, 64, 3, 3\] in the",
    ):
        load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(path))


def test_three_channel_weights_do_not_fit_a_gray_stem_unless_summed(tmp_path):
    path = written(tmp_path / "w.pdparams", ssld_form())
    with pytest.raises(
        WeightsError, match=r"1 of another shape \(stem\.0\.conv\.weight \[32, 1, 3, 3\] expected, \[32, 3, 3, 3\]"
    ):
        load_pretrained(build_features("ResNet18_vd", in_channels=1), "ResNet18_vd", str(path))


@pytest.mark.parametrize("bad", [np.full(64, np.nan, "float32"), np.ones(64, "uint16")])
def test_values_that_are_not_finite_floats_raise(tmp_path, bad):
    path = written(tmp_path / "w.pdparams", {**ssld_form(), "blocks.0.conv0.bn.bias": bad})
    with pytest.raises(WeightsError, match=r"1 that are not finite floats \(blocks\.0\.conv0\.bn\.bias\)"):
        load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(path))


def test_a_file_with_another_hash_raises(tmp_path):
    path = written(tmp_path / "w.pdparams", ssld_form())
    backbone = build_features("ResNet18_vd")
    assert load_pretrained(backbone, "ResNet18_vd", str(path), sha256=sha256_of(path)).missing == ()
    with pytest.raises(WeightsError, match=f"expected SHA-256 {'0' * 64}, got {sha256_of(path)}"):
        load_pretrained(backbone, "ResNet18_vd", str(path), sha256="0" * 64)


def test_a_flipped_byte_is_noticed_by_the_hash_and_names_file_and_both_hashes(tmp_path):
    path = written(tmp_path / "w.pdparams", ssld_form())
    right = sha256_of(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    backbone = build_features("ResNet18_vd")
    with pytest.raises(
        WeightsError, match=rf"{path}: expected SHA-256 {right}, got {sha256_of(path)}; it is another file or a damaged"
    ):
        load_pretrained(backbone, "ResNet18_vd", str(path), sha256=right)
    assert (
        load_pretrained(backbone, "ResNet18_vd", str(path)).missing == ()
    )  # without the hash, an array's byte is not seen


def archived(path, files):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("ending", [".zip", ".tar"])
@pytest.mark.parametrize("form", [".pdparams", ".safetensors"])
def test_weights_in_an_archive_load_as_the_file_itself(tmp_path, ending, form):
    plain = tmp_path / f"w{form}"
    if form == ".pdparams":
        written(plain, ssld_form())
    else:
        write_tensors(plain, ssld_form())
    content = {
        f"ResNet18_vd/model{form}": plain.read_bytes(),
        "ResNet18_vd/readme.txt": b"x",
        f"__MACOSX/ResNet18_vd/._model{form}": b"y",
    }
    archive = archived(tmp_path / f"w{ending}", content)
    backbone = build_features("ResNet18_vd")
    report = load_pretrained(backbone, "ResNet18_vd", str(archive), sha256=sha256_of(archive), cache=tmp_path / "cache")
    assert len(report.loaded) == 115
    for key, value in backbone.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), ssld_form()[key])
    assert [path.name for path in (tmp_path / "cache" / "unpacked").iterdir() if not path.name.startswith(".")] == [
        sha256_of(archive)
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.txt": b"1"}, r"expected one \.pdparams, .* or \.bin file in it, got 0 \(none\)"),
        (
            {"a.pdparams": b"1", "b/c.safetensors": b"2"},
            r"got 2 \(a\.pdparams, b/c\.safetensors\); unpack it and name one",
        ),
        ({"../a.pdparams": b"1"}, r"refused: member '\.\./a\.pdparams' has a name that leads out"),
        ({"a.pdparams": b"\x80\x02cposix\nsystem\n."}, r"a\.pdparams: refused: posix\.system"),
    ],
)
def test_an_archive_without_one_weight_file_raises(tmp_path, files, message):
    archive = archived(tmp_path / "w.tar", files)
    with pytest.raises(WeightsError, match=message):
        load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(archive), cache=tmp_path / "cache")


def test_unpacked_weights_that_changed_since_are_named(tmp_path):
    write_tensors(tmp_path / "w.safetensors", ssld_form())
    content = {"a.safetensors": (tmp_path / "w.safetensors").read_bytes()}
    archive, cache = archived(tmp_path / "w.zip", content), tmp_path / "cache"
    load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(archive), sha256=sha256_of(archive), cache=cache)
    (file,) = cache.rglob("a.safetensors")
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(
        WeightsError, match=r"a\.safetensors: is damaged: it has another SHA-256 than .* unpacked from .*w\.zip"
    ):
        load_pretrained(
            build_features("ResNet18_vd"), "ResNet18_vd", str(archive), sha256=sha256_of(archive), cache=cache
        )
    shutil.rmtree(file.parent)
    load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(archive), sha256=sha256_of(archive), cache=cache)


def test_the_home_of_a_user_who_is_not_there_is_one_line():
    with pytest.raises(WeightsError, match=r"~nobody_of_that_name/w\.pdparams: there is no such home folder"):
        load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", "~nobody_of_that_name/w.pdparams")


def test_an_archive_with_another_hash_is_not_unpacked(tmp_path):
    archive = archived(tmp_path / "w.zip", {"a.pdparams": b"1"})
    with pytest.raises(WeightsError, match=rf"w\.zip: expected SHA-256 {'0' * 64}, got {sha256_of(archive)}"):
        load_pretrained(
            build_features("ResNet18_vd"), "ResNet18_vd", str(archive), sha256="0" * 64, cache=tmp_path / "cache"
        )
    assert not (tmp_path / "cache").exists()


def test_a_truncated_file_raises(tmp_path):
    path = written(tmp_path / "w.pdparams", ssld_form())
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(WeightsError, match="cut off or damaged"):
        load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(path))


def test_a_file_that_is_not_there_raises(tmp_path):
    with pytest.raises(WeightsError, match=r"w\.pdparams: the weight file is not there; put it there, or"):
        load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", str(tmp_path / "w.pdparams"))


def test_a_name_without_ssld_weights_names_those_that_have_them(tmp_path):
    with pytest.raises(
        WeightsError,
        match="none are published for ResNet18_vd; those that have them: ResNet34_vd, ResNet50_vd, ResNet101_vd",
    ):
        load_pretrained(build_features("ResNet18_vd"), "ResNet18_vd", "ssld", cache=tmp_path)


def test_ssld_is_read_from_the_cache_by_its_published_name(tmp_path):
    written(tmp_path / "ResNet34_vd_ssld_pretrained.pdparams", ssld_form("ResNet34_vd"))
    assert SSLD_URLS["ResNet34_vd"].endswith("/ResNet34_vd_ssld_pretrained.pdparams")
    report = load_pretrained(build_features("ResNet34_vd"), "ResNet34_vd", "ssld", cache=tmp_path)
    assert report.extra == ("fc.weight", "fc.bias")


@needs_paddleclas
@needs(*REAL)
def test_the_real_mobilenet_file_loads_whole_in_the_order_of_the_network():
    path = SHARED.joinpath(*REAL)
    backbone = build_features(MOBILENET)
    report = load_pretrained(backbone, MOBILENET, str(path))
    assert (len(report.loaded), report.missing, report.extra, report.misshaped) == (267, (), (), ())
    assert list(mapped(MOBILENET, load_weights(path))) == list(backbone.network.state_dict())


@needs_paddleclas
@needs(*REAL)
@needs(*FILMS)
def test_real_films_give_activations_that_the_real_running_means_expect():
    import cv2

    backbone = build_features(MOBILENET)
    load_pretrained(backbone, MOBILENET, str(SHARED.joinpath(*REAL)))
    backbone.network.eval()
    agreement = []

    def compare(layer, inputs):
        agreement.append(np.corrcoef(inputs[0].numpy().mean(axis=(0, 2, 3)), layer._mean.numpy())[0, 1])

    for layer in backbone.network.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm):
            layer.register_forward_pre_hook(compare)
    films = sorted(SHARED.joinpath(FILMS[0]).rglob("*.jpg"))[:4]
    pixels = np.stack([cv2.resize(cv2.imread(str(film)), (224, 224)) for film in films]) / 255
    images = ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(0, 3, 1, 2).astype("float32")
    features = backbone.network(paddle.to_tensor(images)).numpy()
    assert features.shape == (4, 480, 7, 7)
    assert 0.2 < features.std() < 10
    assert np.median(agreement) > 0.8  # 0.92 measured on eight films; layers out of order give about 0
