"""Files of torch.save: both forms load, and what is no array, or lies beyond its storage, is refused in one line.

The files are put together by hand, byte for byte as PyTorch writes them, so that the tests need no PyTorch.
"""

import io
import os
import pickle
import struct
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest

from mammo.errors import WeightsError
from mammo.model.unpickle import load_weights
from tests.model.test_pickle_bombs import GUARDED, LAUGHS, PAYLOADS, ROOT, bytes_of, mutations

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
KINDS = {
    "Double": "f8", "Float": "f4", "Half": "f2", "Long": "i8", "Int": "i4", "Short": "i2", "Char": "i1", "Byte": "u1",
    "Bool": "b1",
}  # fmt: skip
ORDERED = b"ccollections\nOrderedDict\n"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def op(value):
    """The operations that put a plain value on a pickle's stack."""
    return pickle.dumps(value, 2)[2:-1]


def storage(key="0", *, kind="Float", count=6, view=b"N", word="storage"):
    named = kind if isinstance(kind, bytes) else f"ctorch\n{kind}Storage\n".encode()
    return b"(" + op(word) + named + op(key) + op("cpu") + op(count) + view + b"tQ"


def tensor(held=None, *, offset=0, shape=(2, 3), strides=(3, 1), key="0", kind="Float", count=6):
    held = storage(key, kind=kind, count=count) if held is None else held
    return REBUILD + b"(" + held + op(offset) + op(shape) + op(strides) + b"\x89" + ORDERED + b")RtR"


def table(entries, state=b""):
    items = b"".join(op(name) + value for name, value in entries)
    return b"\x80\x02" + ORDERED + b")R(" + items + b"u" + state + b"."


def older(content, storages, *, keys=None, version=VERSION):
    """The older form: three small pickles, that of the arrays, that of the storages' keys, and the storages."""
    keys = list(storages) if keys is None else keys
    machine = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, version, machine))
    numbers = b"".join(struct.pack("<q", array.size) + array.tobytes() for array in storages.values())
    return head + content + pickle.dumps(keys, 2) + numbers


def newer(content, storages, *, compression=zipfile.ZIP_STORED, order=b"little", folder="archive"):
    """The newer form: a zip with a folder of the pickle and a file for each storage; ids have no last None."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(f"{folder}/data.pkl", content.replace(b"NtQ", b"tQ"))
        archive.writestr(f"{folder}/byteorder", order)
        for key, array in storages.items():
            archive.writestr(f"{folder}/data/{key}", array.tobytes())
        archive.writestr(f"{folder}/version", b"3\n")
    return file.getvalue()


FORMS = {"older": older, "newer": newer}
SIX = {"0": np.arange(6, dtype="f4")}


def written(tmp_path, content, ending=".pth"):
    path = tmp_path / f"w{ending}"
    path.write_bytes(content)
    return path


def refused(path, match):
    with pytest.raises(WeightsError, match=match) as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    return True


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_every_kind_load_in_the_files_order(tmp_path, form, ending):
    storages = {kind.lower(): np.array([1, 0, 1, 1]).astype(code) for kind, code in KINDS.items()}
    entries = [
        (f"layer.{kind}", tensor(shape=(2, 2), strides=(2, 1), key=kind.lower(), kind=kind, count=4)) for kind in KINDS
    ]
    loaded = load_weights(written(tmp_path, FORMS[form](table(entries), storages), ending))
    assert list(loaded) == [f"layer.{kind}" for kind in KINDS]
    for kind, code in KINDS.items():
        array = loaded[f"layer.{kind}"]
        assert array.dtype == np.dtype(code)
        assert array.tolist() == [[1, 0], [1, 1]]
        assert array.flags.writeable


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "expected"),
    [
        (0, (2, 3), (3, 1), [[0, 1, 2], [3, 4, 5]]),
        (0, (2, 3), (1, 2), [[0, 2, 4], [1, 3, 5]]),  # Fortran's order
        (2, (2, 2), (2, 1), [[2, 3], [4, 5]]),
        (0, (1, 3, 2), (77, 1, 3), [[[0, 3], [1, 4], [2, 5]]]),  # an axis of one has any stride
        (0, (3, 1, 2, 1), (2, 1, 1, 9), [[[[0], [1]]], [[[2], [3]]], [[[4], [5]]]]),
        (5, (), (), 5),
        (6, (0, 3), (3, 1), []),
    ],
)
def test_sizes_strides_and_offsets_say_where_numbers_are(tmp_path, offset, shape, strides, expected):
    content = table([("a", tensor(offset=offset, shape=shape, strides=strides))])
    loaded = load_weights(written(tmp_path, older(content, SIX)))["a"]
    assert loaded.shape == shape
    assert loaded.tolist() == expected


def test_the_middle_axis_may_be_the_fastest(tmp_path):
    numbers = np.arange(24, dtype="f4")
    content = table([("a", tensor(shape=(2, 3, 4), strides=(1, 8, 2), count=24))])
    loaded = load_weights(written(tmp_path, older(content, {"0": numbers})))["a"]
    np.testing.assert_array_equal(loaded, numbers.reshape(3, 4, 2).transpose(2, 0, 1))


def test_two_arrays_may_share_a_storage_and_what_modules_add_is_dropped(tmp_path):
    rows = tensor(offset=3, shape=(1, 3))
    metadata = b"}" + op("_metadata") + ORDERED + b")Rsb"
    loaded = load_weights(written(tmp_path, older(table([("a", tensor()), ("b", rows)], metadata), SIX)))
    assert {name: array.tolist() for name, array in loaded.items()} == {"a": [[0, 1, 2], [3, 4, 5]], "b": [[3, 4, 5]]}


def one(**given):
    return table([("a", tensor(**given))])


HOSTILE = {
    "a stride beyond the storage": (one(shape=(2, 3), strides=(3, 7)), "numbers overlap or have gaps"),
    "a stride of nothing": (one(shape=(1000, 1000), strides=(0, 0)), "numbers overlap or have gaps"),
    "a negative stride": (one(strides=(-3, 1)), "without sizes and strides"),
    "a size beyond the storage": (one(shape=(3, 3)), "'a' reaches beyond its storage"),
    "a huge size": (one(shape=(2**40, 3)), "'a' reaches beyond its storage"),
    "a size of 2^70": (one(shape=(2**70, 3)), "without sizes and strides"),
    "a negative size": (one(shape=(-2, -3)), "without sizes and strides"),
    "an offset beyond the storage": (one(offset=1), "'a' reaches beyond its storage"),
    "an empty array beyond the storage": (one(offset=7, shape=(0,), strides=(1,)), "'a' reaches beyond its storage"),
    "a negative offset": (one(offset=-1), "'a' reaches beyond its storage"),
    "an offset that is text": (one(offset="1"), "'a' reaches beyond its storage"),
    "sizes that are a list": (one(shape=[2, 3]), "without sizes and strides"),
    "more sizes than strides": (one(strides=(1,)), "without sizes and strides"),
    "33 axes": (one(shape=(1,) * 33, strides=(1,) * 33), "without sizes and strides"),
    "a size that is true": (one(shape=(True, 3)), "without sizes and strides"),
    "numbers of another type": (one(kind="BFloat16"), r"refused: torch\.BFloat16Storage; numbers of this type"),
    "another class": (one(kind="Nothing"), r"refused: torch\.NothingStorage; numbers of this type"),
    "text as a class": (one(held=storage(kind=op("O"))), "a storage without type, key or length"),
    "a negative length": (one(count=-1), "a storage without type, key or length"),
    "a length that is text": (one(count="6"), "a storage without type, key or length"),
    "a key that is a number": (one(key=0), "a storage without type, key or length"),
    "no storage": (one(held=storage(word="module")), "a persistent id that is no whole storage"),
    "a persistent id that is text": (table([("a", op("rm -rf /") + b"Q")]), "a persistent id that is no whole storage"),
    "a key that no storage has": (one(held=op("1")), r"cut off or damaged \(KeyError"),
    "a storage called as a function": (table([("a", storage() + b")R")]), "cut off or damaged"),
    "a storage with a state": (one(held=storage() + b"}" + op("count") + op(9) + b"sb"), "cut off or damaged"),
    "two lengths of one storage": (table([("a", tensor()), ("b", tensor(count=7))]), "two storages with one key"),
    "a name twice": (table([("a", tensor()), ("a", tensor())]), "two entries are called 'a'"),
    "a name that is a number": (table([(1, tensor())]), "expected an array under '1', got a Tensor"),
    "a checkpoint": (table([("epoch", op(3))]), "expected an array under 'epoch', got a int"),
    "a list": (b"\x80\x02].", "expected a table of named arrays, got a list"),
    "nothing": (table([]), "holds no array"),
    "another name": (table([("a", b"cos\nsystem\n" + op(("x",)) + b"R")]), r"refused: os\.system"),
    "another name of torch": (table([("a", b"ctorch\nload\n" + op(("x",)) + b"R")]), r"refused: torch\.load"),
    "a name of paddle's files": (table([("a", b"c_codecs\nencode\n" + op(("x",)) + b"R")]), r"refused: _codecs\."),
}  # fmt: skip


@pytest.mark.parametrize("fault", HOSTILE)
@pytest.mark.parametrize("form", FORMS)
def test_what_no_state_dict_has_is_refused_in_one_line(tmp_path, form, fault):
    content, message = HOSTILE[fault]
    storages = SIX if b"Storage" in content else {}
    refused(written(tmp_path, FORMS[form](content, storages)), rf"w\.pth: .*{message}")


def test_a_view_of_another_storage_is_refused(tmp_path):
    held = storage(view=b"(" + op("0") + op(0) + op(6) + b"t")
    refused(written(tmp_path, older(one(held=held), SIX)), "a persistent id that is no whole storage")


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["0", "0"], "are not, once each, those that its arrays use"),
        ([], "are not, once each, those that its arrays use"),
        (["0", "1"], "are not, once each, those that its arrays use"),
        ([["0"]], "are not, once each, those that its arrays use"),
        ("0", "are not, once each, those that its arrays use"),
    ],
)
def test_keys_that_are_not_those_of_the_storages_are_refused(tmp_path, keys, message):
    refused(written(tmp_path, older(one(), SIX, keys=keys)), message)


@pytest.mark.parametrize("count", [7, 2**40, 2**62, 2**70])
def test_a_storage_longer_than_the_file_is_refused(tmp_path, count):
    content = older(one(count=count), {})
    content = content.replace(pickle.dumps([], 2), pickle.dumps(["0"], 2))
    numbers = struct.pack("<Q", min(count, 2**63)) + SIX["0"].tobytes()
    stated = f"{4 * count} bytes" if count < 2**63 else f"{2**63} numbers"
    refused(written(tmp_path, content + numbers), f"cut off or damaged .*a storage of {stated}")


def test_a_storage_of_another_length_than_its_arrays_say_is_refused(tmp_path):
    refused(written(tmp_path, older(one(count=5), SIX)), "a storage of 6 numbers where 5 are expected")
    refused(written(tmp_path, newer(one(count=5), SIX)), "a storage of 24 bytes where 5 numbers are expected")


def test_another_version_is_refused(tmp_path):
    refused(written(tmp_path, older(one(), SIX, version=1002)), "expected version 1001 of PyTorch's form, got '1002'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (newer(one(), SIX, compression=zipfile.ZIP_DEFLATED), "its members are compressed"),
        (newer(one(), SIX, order=b"big"), "expected little-endian numbers"),
        (newer(one(), SIX, folder="a/b"), "expected a file of PyTorch, got another zip"),
        (newer(one(), {}), "cut off or damaged"),
        (newer(one(), {"0": SIX["0"][:5]}), "a storage of 20 bytes where 6 numbers are expected"),
        (newer(one(), SIX)[:-40], "cut off or damaged"),
        (newer(one(), SIX).replace(SIX["0"].tobytes(), SIX["0"][::-1].tobytes()), "cut off or damaged .*CRC"),
    ],
)
def test_a_zip_that_torch_does_not_write_is_refused(tmp_path, content, message):
    refused(written(tmp_path, content), message)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x89HDF\r\n"])
def test_another_kind_of_file_is_refused(tmp_path, content):
    refused(written(tmp_path, content), r"w\.pth: expected a \.pth file, a pickle of protocol 2 or later or a zip")


@pytest.mark.parametrize("form", FORMS)
def test_every_cut_of_a_file_is_one_line(tmp_path, form):
    content = FORMS[form](one(), SIX)
    for length in range(1, len(content), 11):
        refused(written(tmp_path, content[:length]), r"w\.pth: expected a (whole )?\.pth file")


@pytest.mark.parametrize("form", FORMS)
def test_100_mutations_of_a_file_end_in_arrays_or_one_line(tmp_path, form):
    content = FORMS[form](table([("a", tensor()), ("b", tensor(key="1", kind="Long"))]), {**SIX, "1": np.arange(6)})
    refusals = 0
    for damaged in mutations(content, 100, 0):
        try:
            arrays = load_weights(written(tmp_path, damaged))
        except WeightsError as error:
            assert "\n" not in str(error)
            refusals += 1
        else:
            assert all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in arrays.values())
    assert refusals > 40


@pytest.mark.skipif(os.name != "posix", reason="the payloads call posix.system")
@pytest.mark.parametrize("door", list(PAYLOADS))
def test_a_command_is_refused_and_not_run(tmp_path, door):
    marker = tmp_path / "ran"
    refused(written(tmp_path, older(PAYLOADS[door](f"touch {marker}"), SIX)), "refused: |unregistered extension")
    assert not marker.exists()


def overlapping(members, size):
    """A zip whose members are all the same bytes."""
    file = io.BytesIO(newer(table([(str(n), tensor(key=str(n), count=size // 4)) for n in range(members)]), {}))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("archive/data/0", bytes(size))
        first = archive.getinfo("archive/data/0")
        for number in range(1, members):
            info = zipfile.ZipInfo(f"archive/data/{number}")
            info.file_size, info.compress_size, info.CRC = first.file_size, first.compress_size, first.CRC
            info.header_offset = first.header_offset
            archive.filelist.append(info)
    return file.getvalue()


MANY = 5_000_000
BOMBS = {
    "one storage in a thousand arrays": lambda: older(
        table([(str(n), tensor(shape=(MANY,), strides=(1,), count=MANY, kind="Byte")) for n in range(1000)]),
        {"0": np.zeros(MANY, "u1")},
    ),
    "one member in a thousand storages": lambda: overlapping(1000, MANY),
    "a size of 2^60 tuples": lambda: older(
        LAUGHS + ORDERED + b")R(" + op("a") + REBUILD + b"(" + storage() + op(0) + b"h\x3b" + op((3, 1)) + b"tRu.", SIX
    ),
    "a name of 2^60 tuples": lambda: older(LAUGHS + ORDERED + b")Rh\x3b" + tensor() + b"s.", SIX),
    "keys of 2^60 tuples": lambda: older(one(), {}).replace(pickle.dumps([], 2), LAUGHS + b"(h\x3bl."),
    "a magic number of two billion bytes": lambda: b"\x80\x02\x8b\xff\xff\xff\x7f1.",
    "bytes in the pickle": lambda: older(b"\x80\x03" + bytes_of(MANY) * 30 + b".", SIX),
    "a zip's pickle of five million tables": lambda: newer(b"\x80\x02" + b"}" * 5_000_000 + b".", SIX),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_costs_neither_time_nor_memory(tmp_path, bomb):
    path = written(tmp_path, BOMBS[bomb]())
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, str(path)],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=True,
    )  # fmt: skip
    outcome, own_kib, child_kib = done.stdout.splitlines()
    assert outcome.startswith("raised")
    assert "NEWLINE" not in outcome
    assert int(own_kib) < 400_000
    assert int(child_kib) < 800_000
    assert time.monotonic() - begin < 30
