"""Named arrays on disk: round trip, whole or not at all, errors that name the file."""

import hashlib
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mammo.errors import WeightsError
from mammo.model.tensors import read_tensors, sha256_of, write_tensors

ROOT = Path(__file__).resolve().parents[2]


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


def test_a_failed_write_keeps_the_old_file_and_nothing_else(tmp_path):
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


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}',
            "tensors of 16 bytes in all, and 8 bytes after the header",
        ),
        (b"{}", "tensors of 0 bytes in all, and 8 bytes after the header"),
        (b"[" * 200_000, "a header that is no table of tensors: RecursionError"),
        (b"[]", "a header that is no table of tensors: AttributeError"),
        (b'{"a":{"data_offsets":[0]}}', "a header that is no table of tensors: IndexError"),
        (b'{"a":{"data_offsets":[0,"8"]}}', "tensors of"),
    ],
)
def test_header_that_contradicts_the_length_raises(tmp_path, header, message):
    (tmp_path / "t.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    with pytest.raises(WeightsError, match=rf"t\.safetensors: expected a whole safetensors file, .*{message}"):
        read_tensors(tmp_path / "t.safetensors")


IN_4_GIB = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
from pathlib import Path
from mammo.errors import WeightsError
from mammo.model.unpickle import load_weights
try:
    load_weights(Path(sys.argv[1]))
except WeightsError as error:
    print(error)
"""
MOST = "of at most 8589934592"
NO_WHOLE = "expected a whole safetensors file, got one that is cut off or of another kind"
HUGE_HEADER = struct.pack("<Q", 2**62)
ONE_TENSOR = b"\x47" + bytes(7) + b'{"a":{"dtype":"U8","shape":[6442450944],"data_offsets":[0,6442450944]}}'


@pytest.mark.parametrize(
    ("name", "begin", "size", "words"),
    [
        ("w.safetensors", b"", 30 << 30, f"refused: {30 << 30} bytes; expected a safetensors file, {MOST}"),
        ("w.safetensors", b"", 7 << 30, f"{NO_WHOLE} (a header that is no table"),
        ("w.safetensors", HUGE_HEADER, 7 << 30, f"{NO_WHOLE} (a file of {7 << 30} bytes with a header of {2**62}"),
        ("w.safetensors", ONE_TENSOR, (6 << 30) + 79, "takes more memory than there is"),
        ("w.pdparams", b"\x80\x02", 12 << 30, f"refused: {12 << 30} bytes; expected a .pdparams file, {MOST}"),
        ("w.pdparams", b"", 7 << 30, "expected a .pdparams file, a pickle of protocol 2 or later"),
        ("w.pdparams", b"\x80\x02", 7 << 30, "expected a whole .pdparams file, got one that is cut off or damaged"),
        ("w.pdparams", b"\x80\x04}\x8c\1aB\xff\xff\xff\xff", 7 << 30, "takes more memory than there is"),
    ],
)  # fmt: skip
def test_a_file_that_fits_in_no_memory_is_one_line(tmp_path, name, begin, size, words):
    path = tmp_path / name
    path.write_bytes(begin)
    os.truncate(path, size)  # zeros that take no disk
    done = subprocess.run(
        [sys.executable, "-c", IN_4_GIB, str(path)],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.startswith(f"{path}: {words}")
    assert done.stdout.count("\n") == 1
