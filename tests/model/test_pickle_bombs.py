"""Pickles that would run commands, fill the memory or never end, and damaged ones: refused and nothing runs."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mammo.errors import WeightsError
from mammo.model.unpickle import load_weights
from mammo.runtime import paddle
from tests.model.test_unpickle import REAL, Calls, written
from tests.processes import MOST_KIB
from tests.shared_data import SHARED, needs

ROOT = Path(__file__).resolve().parents[2]


# Each of these makes a file when plain pickle reads it, through another of pickle's doors. S is a text, I and o are
# calls.
def text(command):
    return b"S'" + command.encode() + b"'\n"


PAYLOADS = {
    "REDUCE": lambda command: b"\x80\x02cposix\nsystem\n(" + text(command) + b"tR.",
    "INST": lambda command: b"\x80\x02(" + text(command) + b"iposix\nsystem\n.",
    "OBJ": lambda command: b"\x80\x02(cposix\nsystem\n" + text(command) + b"o.",
    "NEWOBJ": lambda command: (
        b"\x80\x02cbuiltins\nbytes\n(cbuiltins\nmap\n(cposix\nsystem\n](" + text(command) + b"et\x81t\x81."
    ),
    "NEWOBJ_EX": lambda command: (
        b"\x80\x04cbuiltins\nbytes\n(cbuiltins\nmap\n(cposix\nsystem\n](" + text(command) + b"et}\x92t}\x92."
    ),
    "BUILD, __setstate__ put into __dict__": lambda command: (
        b"\x80\x02ctypes\nSimpleNamespace\n)R}S'__setstate__'\ncposix\nsystem\nsb" + text(command) + b"b."
    ),
    "STACK_GLOBAL, dotted": lambda command: b"\x80\x04\x8c\x06shutil\x8c\x09os.system\x93(" + text(command) + b"tR.",
    "EXT1": lambda command: b"\x80\x02\x82\x01(" + text(command) + b"tR.",
    "EXT4": lambda command: b"\x80\x02\x84\x01\0\0\0(" + text(command) + b"tR.",
    "BINPERSID": lambda command: b"\x80\x02" + text(command) + b"Q.",
    "PERSID": lambda command: b"\x80\x02P" + command.encode() + b"\n.",
    "exec": lambda command: pickle.dumps({"a": Calls(exec, f"import os; os.system({command!r})")}, 2),
    "eval": lambda command: pickle.dumps({"a": Calls(eval, f"__import__('os').system({command!r})")}, 4),
    "subprocess": lambda command: pickle.dumps({"a": ("name", Calls(subprocess.check_call, command.split()))}, 4),
    "an object array": lambda command: pickle.dumps({"a": np.array([Calls(os.system, command)], dtype=object)}, 4),
    "a key": lambda command: pickle.dumps({Calls(os.system, command): np.ones(1)}, 4),
    "the state of an array": lambda command: (
        pickle.dumps(Calls(np.ndarray, (1,)), 2)[:-1] + b"cposix\nsystem\n(" + text(command) + b"tRb."
    ),
}
PLAIN = """
import copyreg, os, pickle, sys
copyreg.add_extension("posix", "system", 1)
class Unpickler(pickle.Unpickler):
    def persistent_load(self, command):
        os.system(command)
try:
    Unpickler(open(sys.argv[1], "rb")).load()
except Exception:
    pass
"""


@pytest.mark.skipif(os.name != "posix", reason="the payloads call posix.system")
@pytest.mark.parametrize("door", list(PAYLOADS))
def test_what_plain_pickle_would_run_is_refused_and_not_run(tmp_path, door):
    marker = tmp_path / "ran"
    path = written(tmp_path, PAYLOADS[door](f"touch {marker}"))
    subprocess.run([sys.executable, "-c", PLAIN, str(path)], check=True)
    assert marker.exists()
    marker.unlink()
    unknown = "unregistered extension" if door.startswith("EXT") else "w.pdparams: refused: "
    with pytest.raises(WeightsError, match=unknown) as caught:
        load_weights(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def test_a_module_that_runs_when_imported_is_not_imported(tmp_path):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    path = written(tmp_path, b"\x80\x02cevil\nx\n.")
    subprocess.run([sys.executable, "-c", PLAIN, str(path)], check=True, cwd=tmp_path)
    assert (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    code = "import sys; sys.path.insert(0, '.'); from pathlib import Path\n"
    code += "from mammo.model.unpickle import load_weights as load\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "load(Path(sys.argv[1]))", str(path)],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert "w.pdparams: refused: evil.x" in done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_state_does_not_reach_the_functions_that_answer(tmp_path):
    content = b"\x80\x02c_codecs\nencode\n}S'__defaults__'\n(S'x'\ntsb."
    with pytest.raises(WeightsError, match="cut off or damaged"):
        load_weights(written(tmp_path, content))
    content = b"\x80\x02c_codecs\nencode\n}U\x0c__defaults__U\x01x\x85sb."
    with pytest.raises(WeightsError, match="cut off or damaged"):
        load_weights(written(tmp_path, content))
    content = b"\x80\x02}U\1ac_codecs\nencode\nU\1x\x85R}bs."
    with pytest.raises(WeightsError, match=r"cut off or damaged|refused"):
        load_weights(written(tmp_path, content))
    content = b"\x80\x04cnumpy.core.multiarray\nscalar\nNN\x86R}U\4data}s\x86b."
    with pytest.raises(WeightsError, match="cut off or damaged"):
        load_weights(written(tmp_path, content))


LAUGHS = b"\x80\x04)\x94" + b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86\x94" for n in range(60))


def array_of_memo(key, size):
    """An array under a key, whose bytes stand in the memo at 0."""
    name = b"X" + len(key).to_bytes(4, "little") + key
    call = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R"
    state = b"(K\x01J" + size.to_bytes(4, "little") + b"\x85cnumpy\ndtype\nU\x02u1K\0K\x01\x87R\x89h\0tb"
    return name + call + state + b"s"


def bytes_of(size):
    return b"B" + size.to_bytes(4, "little") + bytes(size)


BOMBS = {
    "one piece of bytes in a thousand arrays": lambda: (
        b"\x80\x03}X\1\0\0\0x"
        + bytes_of(5_000_000)
        + b"q\0s"
        + b"".join(array_of_memo(b"%d" % n, 5_000_000) for n in range(1000))
        + b"."
    ),
    "one text encoded a thousand times": lambda: (
        b"\x80\x02X\x40\x4b\x4c\0" + b"x" * 5_000_000 + b"q\0" + b"c_codecs\nencode\nh\0\x85R" * 1000 + b"."
    ),
    "one list made a tuple a thousand times": lambda: (
        b"\x80\x02](" + b"K\1" * 500_000 + b"eq\0" + b"cbuiltins\ntuple\nh\0\x85R" * 1000 + b"."
    ),
    "a key of 2^60 tuples": lambda: LAUGHS + b"}h\x3bK\1s.",
    "a key nested two hundred thousand deep": lambda: b"\x80\x02})" + b"\x85" * 200_000 + b"K\1s.",
    "a type code of 2^60 tuples": lambda: (
        LAUGHS + b"}U\1acnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nh\x3b\x85RU\1x\x86Rs."
    ),
    "slices of 2^60 tuples": lambda: (
        LAUGHS + b"}U\x14UnpackBigParamInfor@@}U\1w}(U\6slices](h\x3beU\x0bOriginShape)usss."
    ),
    "keys made to collide": lambda: (
        b"\x80\x02}("
        + b"".join(b"\x8a\x0b" + (k * (2**61 - 1)).to_bytes(11, "little") + b"K\1" for k in range(1, 200_000))
        + b"u."
    ),
    "a frame of 2^63 bytes": lambda: b"\x80\x04\x95" + b"\xff" * 7 + b"\x7f}.",
    "bytes of 2^62": lambda: b"\x80\x04}U\1a\x8e" + b"\xff" * 7 + b"\x3fxs.",
    "a bytearray of 2^40": lambda: b"\x80\x05}U\1a\x96\0\0\0\0\0\1\0\0xs.",
    "a text of 2^62": lambda: b"\x80\x04}\x8d" + b"\xff" * 7 + b"\x3fxK\1s.",
    "a number of two billion bytes": lambda: b"\x80\x02}U\1a\x8b\xff\xff\xff\x7f1s.",
    "a number of thirty million bytes": lambda: b"\x80\x02}U\1a\x8b\x80\xc3\xc9\1" + b"7" * 30_000_000 + b"s.",
    "a memo index of 2^31": lambda: b"\x80\x02}r\xff\xff\xff\x7fU\1aK\1s.",
    "five million tables": lambda: b"\x80\x02" + b"}" * 5_000_000 + b".",
    "five million marks": lambda: b"\x80\x02" + b"(" * 5_000_000 + b".",
    "a table that holds itself": lambda: b"\x80\x02}q\0U\x0cLR_Schedulerh\0s.",
    "a schedule of 2^60 values": lambda: LAUGHS + b"}U\x0cLR_Scheduler}U\1ah\x3bss.",
    "a schedule nested two hundred thousand deep": lambda: (
        b"\x80\x02}U\x0cLR_Scheduler}U\1a)" + b"\x85" * 200_000 + b"ss."
    ),
}
# numpy reads the first of these by Python's own parser, and takes others for records, sub-arrays and text
CODES = [
    ",|i2",
    "f,(",
    "f4,",
    "(2)f",
    "2f4",
    "()f4",
    "f",
    "?",
    "<",
    "",
    "1f",
    "O",
    "V8",
    "U2",
    "S8",
    "M8",
    "c8",
    "i3",
    "f1",
    "f16",
    "f4 ",
    "F4",
    "ｆ4",
]


@pytest.mark.parametrize("code", CODES)
def test_a_type_code_that_names_no_number_is_refused(tmp_path, code):
    said = b"X" + len(code.encode()).to_bytes(4, "little") + code.encode()
    content = (
        b"\x80\x02}U\1acnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(" + said + b"K\0K\1tRU\x08" + bytes(8) + b"tRs."
    )
    with pytest.raises(WeightsError, match=r"w\.pdparams: refused: an array of type .*; only numbers are weights"):
        load_weights(written(tmp_path, content))


@pytest.mark.parametrize("code", [*"?bBhHiIlLqQefd", ">f4", "<f2", ">i8", "|u1", "=u2"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_every_kind_of_number_is_read(tmp_path, code, protocol):
    array = np.array([0, 1, 1, 0]).astype(code).reshape(2, 2)
    loaded = load_weights(written(tmp_path, pickle.dumps({"a": array}, protocol)))["a"]
    assert loaded.dtype == array.dtype.newbyteorder("=")
    assert loaded.tolist() == array.tolist()


GUARDED = (
    MOST_KIB
    + """
import resource, sys
from pathlib import Path
from mammo.errors import WeightsError
from mammo.model.unpickle import load_weights
before = most_kib()
try:
    load_weights(Path(sys.argv[1]))
    print("loaded")
except WeightsError as error:
    print("raised", str(error).replace("\\n", "NEWLINE"))
print(most_kib() - before)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
)


@pytest.mark.parametrize("bomb", list(BOMBS))
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
    assert int(child_kib) < 400_000
    assert time.monotonic() - begin < 30


def mutations(content, count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        damaged = bytearray(content)
        kind = rng.integers(0, 4)
        place = int(rng.integers(1, len(content)))
        if kind == 0:
            del damaged[place:]
        elif kind == 1:
            del damaged[place : place + int(rng.integers(1, 40))]
        elif kind == 2:
            damaged[place:place] = content[: int(rng.integers(1, 200))]
        else:
            for position in rng.integers(1, len(content), rng.integers(1, 6)):
                damaged[position] = rng.integers(0, 256)
        yield bytes(damaged)


def outcome(tmp_path, content):
    """`True` for arrays, `False` for one line; anything else raises here."""
    try:
        arrays = load_weights(written(tmp_path, content))
    except WeightsError as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 1000
        return False
    assert all(isinstance(value, np.ndarray) and value.dtype.kind in "fiub" for value in arrays.values())
    return True


@needs(*REAL)
def test_500_mutations_of_a_real_file_end_in_arrays_or_one_line(tmp_path):
    content = SHARED.joinpath(*REAL).read_bytes()
    outcomes = [outcome(tmp_path, damaged) for damaged in mutations(content, 250, 0)]
    outcomes += [outcome(tmp_path, damaged + content[4000:]) for damaged in mutations(content[:4000], 250, 1)]
    assert outcomes.count(False) > 150


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_500_mutations_of_what_this_paddle_saves_end_in_arrays_or_one_line(tmp_path, protocol):
    layer = paddle.nn.Sequential(paddle.nn.Conv2D(1, 2, 3), paddle.nn.BatchNorm2D(2), paddle.nn.Linear(3, 2))
    paddle.save(layer.state_dict(), str(tmp_path / "s.pdparams"), protocol=protocol)
    content = (tmp_path / "s.pdparams").read_bytes()
    outcomes = [outcome(tmp_path, damaged) for damaged in mutations(content, 500, protocol)]
    assert outcomes.count(False) > 300
