"""The restricted unpickler: real Paddle files load as they do in Paddle; whatever else a pickle may ask is refused."""

import collections
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from mammo.errors import WeightsError
from mammo.model.tensors import write_tensors
from mammo.model.unpickle import load_weights
from mammo.runtime import paddle
from tests.shared_data import SHARED, needs

ROOT = Path(__file__).resolve().parents[2]
REAL = ("weights", "MobileNetV3_large_x0_5_pretrained.pdparams")


class Calls:
    """Pickles to a call of any function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def written(tmp_path, content, protocol=4):
    path = tmp_path / "w.pdparams"
    path.write_bytes(content if isinstance(content, bytes) else pickle.dumps(content, protocol))
    return path


@needs(*REAL)
def test_a_real_file_loads_as_paddle_loads_it():
    path = SHARED.joinpath(*REAL)
    ours, theirs = load_weights(path), paddle.load(str(path))
    assert list(ours) == list(theirs)
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours[key], value.numpy())


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_paddle_saves_loads_at_every_protocol(tmp_path, protocol):
    layer = paddle.nn.Sequential(paddle.nn.Conv2D(1, 2, 3), paddle.nn.BatchNorm2D(2))
    paddle.save(layer.state_dict(), str(tmp_path / "w.pdparams"), protocol=protocol)
    loaded = load_weights(tmp_path / "w.pdparams")
    assert list(loaded) == list(layer.state_dict())
    for key, value in layer.state_dict().items():
        np.testing.assert_array_equal(loaded[key], value.numpy())


def test_plain_tensors_saved_by_paddle_load(tmp_path):
    paddle.save({"a": paddle.to_tensor([1.0, 2.0])}, str(tmp_path / "w.pdparams"))
    assert load_weights(tmp_path / "w.pdparams")["a"].tolist() == [1, 2]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dtype", ["float32", ">f4", "float16", "int64", "bool", "uint16"])
def test_arrays_of_every_kind_and_order_load(tmp_path, protocol, dtype):
    array = np.arange(12).reshape(3, 4).astype(dtype)
    content = collections.OrderedDict(
        c=array, f=np.asfortranarray(array), pair=("conv2d_0.w_0", array), zero=array[0, 0:0]
    )
    loaded = load_weights(written(tmp_path, content, protocol))
    assert list(loaded) == ["c", "f", "pair", "zero"]
    for key in ("c", "f", "pair"):
        np.testing.assert_array_equal(loaded[key], array)
        assert loaded[key].dtype == np.dtype(dtype).newbyteorder("=")
        assert loaded[key].flags.writeable
    assert loaded["zero"].shape == (0,)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_files_of_numpy_1_and_2_load(tmp_path, module):
    content = pickle.dumps({"a": np.arange(3.0)}, 2)
    for other in (b"numpy.core.multiarray", b"numpy._core.multiarray"):
        content = content.replace(other, module.encode())
    assert load_weights(written(tmp_path, content))["a"].tolist() == [0, 1, 2]


def test_a_tensor_cut_for_protocol_2_is_joined_and_graph_names_are_dropped(tmp_path):
    content = {
        "w@@.0": np.arange(4.0),
        "w@@.1": np.arange(4.0, 6.0),
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}},
        "StructuredToParameterName@@": {"w": "linear_0.w_0"},
    }
    loaded = load_weights(written(tmp_path, content, 2))
    assert list(loaded) == ["w"]
    assert loaded["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_safetensors_load_by_their_suffix(tmp_path):
    write_tensors(tmp_path / "w.safetensors", {"a": np.ones(2, "float32")})
    assert load_weights(tmp_path / "w.safetensors")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize(
    "nest", [lambda x: x, lambda x: {"a": x}, lambda x: {"a": ("name", x)}, lambda x: {"a": [Calls(tuple, [x])]}]
)
def test_a_command_is_refused_and_not_run(tmp_path, protocol, nest):
    path = written(tmp_path, nest(Calls(os.system, f"touch {tmp_path}/ran")), protocol)
    with pytest.raises(WeightsError, match=r"w\.pdparams: refused: (posix|nt)\.system"):
        load_weights(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (Calls(eval, "1+1"), "eval"),
        (Calls(getattr, "a", "b"), "getattr"),
        (Calls(__import__, "os"), "__import__"),
        (Calls(np.load, "x.npy"), r"numpy\S*\.load"),
        (Calls(bytearray, 10**12), "bytearray"),
        (Calls(range, 3), "range"),
    ],
)
def test_any_other_name_is_refused(tmp_path, call, name):
    with pytest.raises(WeightsError, match=f"refused: .*{name}"):
        load_weights(written(tmp_path, {"a": call}))


def test_names_with_dots_do_not_reach_into_allowed_modules(tmp_path):
    content = b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__new__\x93."
    with pytest.raises(WeightsError, match=r"refused: numpy\.ndarray\.__new__"):
        load_weights(written(tmp_path, content))


def test_object_and_text_arrays_are_refused(tmp_path):
    for array in (np.array([{}, 1], dtype=object), np.array(["text"]), np.zeros(1, "datetime64[s]")):
        with pytest.raises(WeightsError, match=r"refused: an array of type '[OUM]"):
            load_weights(written(tmp_path, {"a": array}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x02P1\n.", "refused: a persistent id"),
        (b"\x80\x02}Q.", "refused: a persistent id"),
        (b"\x80\x02\x82\x01.", "damaged .*unregistered extension code 1"),
    ],
)
def test_odd_operations_are_refused(tmp_path, content, message):
    with pytest.raises(WeightsError, match=message):
        load_weights(written(tmp_path, content))


def test_every_cut_of_a_file_is_one_line(tmp_path):
    content = pickle.dumps({"a": np.arange(5.0), "b": ("n", np.ones((2, 2), "float32"))}, 4)
    for length in range(1, len(content)):
        with pytest.raises(WeightsError, match=r"w\.pdparams: expected a (whole )?\.pdparams file"):
            load_weights(written(tmp_path, content[:length]))


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    content = pickle.dumps({"a": np.arange(5.0), "b": ("n", np.ones((2, 2), "float32"))}, 4)
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(400):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(0, 256)
        try:
            load_weights(written(tmp_path, bytes(damaged)))
        except WeightsError as error:
            messages.append(str(error))
    assert len(messages) > 200
    assert not any("\n" in message for message in messages)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"<html>not found</html>"])
def test_another_kind_of_file_raises(tmp_path, content):
    with pytest.raises(WeightsError, match=r"w\.pdparams: expected a \.pdparams file, a pickle"):
        load_weights(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "message"), [([1], "a table of named arrays, got a list"), ({"a": 3}, "an array under 'a', got a int")]
)
def test_a_pickle_of_something_else_raises(tmp_path, content, message):
    with pytest.raises(WeightsError, match=f"expected {message}"):
        load_weights(written(tmp_path, content))


def test_missing_file_raises(tmp_path):
    with pytest.raises(WeightsError, match=r"w\.pdparams: cannot be read \(No such file"):
        load_weights(tmp_path / "w.pdparams")


def test_bytes_of_a_wished_length_are_not_made(tmp_path):
    with pytest.raises(WeightsError, match="cut off or damaged"):
        load_weights(written(tmp_path, {"a": Calls(bytes, 10**12)}))


def test_a_number_of_numpys_own_kind_loads(tmp_path):
    for protocol in (2, 4, 5):
        assert load_weights(written(tmp_path, {"a": np.float64(1.5)}, protocol))["a"].item() == 1.5


@pytest.mark.parametrize("path", ["/dev/zero", "/dev", "fifo"])
def test_a_device_or_folder_is_not_read(tmp_path, path):
    if path == "fifo":
        os.mkfifo(tmp_path / "fifo")
    with pytest.raises(WeightsError, match=r"is no file; expected a \.pdparams file there"):
        load_weights(tmp_path / path)
