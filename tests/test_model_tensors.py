"""Named arrays on disk: round trip, whole or not at all, errors that name the file."""

import hashlib

import numpy as np
import pytest

from mammo.errors import WeightsError
from mammo.model.tensors import read_tensors, sha256_of, write_tensors


def test_arrays_come_back_as_they_went(tmp_path):
    tensors = {
        "a": np.arange(6, dtype="float32").reshape(2, 3).T,  # not contiguous
        "big_endian": np.array([1.5, -2.0], ">f4"),
        "scalar": np.full((), 2.5, "float32"),
        "empty": np.zeros((0, 4), "float64"),
        "index": np.array([2**40], "int64"),
        "mask": np.array([True, False]),
    }
    write_tensors(tmp_path / "new" / "t.safetensors", tensors)
    back = read_tensors(tmp_path / "new" / "t.safetensors")
    assert back.keys() == tensors.keys()
    for key, value in tensors.items():
        assert back[key].dtype == value.dtype.newbyteorder("=")
        np.testing.assert_array_equal(back[key], value)
        assert back[key].shape == value.shape


def test_a_write_that_cannot_be_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": np.ones(2, "float32")})
    with pytest.raises(WeightsError, match=r"t\.safetensors: expected arrays of numbers"):
        write_tensors(path, {"a": np.array(["text"], dtype=object)})
    assert read_tensors(path)["a"].tolist() == [1, 1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.safetensors"]


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "t.safetensors").mkdir()
    with pytest.raises(WeightsError, match=r"t\.safetensors: cannot be written"):
        write_tensors(tmp_path / "t.safetensors", {"a": np.ones(2, "float32")})
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.safetensors"]


@pytest.mark.parametrize("length", [0, 4, 20, -1])
def test_cut_file_raises(tmp_path, length):
    path = tmp_path / "t.safetensors"
    write_tensors(path, {"a": np.ones(100, "float32")})
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(WeightsError, match=r"t\.safetensors: expected a whole safetensors file"):
        read_tensors(path)


def test_missing_file_raises(tmp_path):
    with pytest.raises(WeightsError, match=r"none\.safetensors: cannot be read \(No such file"):
        read_tensors(tmp_path / "none.safetensors")


def test_sha256_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 9000  # more than two blocks
    (tmp_path / "f").write_bytes(content)
    assert sha256_of(tmp_path / "f") == hashlib.sha256(content).hexdigest()
