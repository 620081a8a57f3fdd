"""False replies of a decoding process: the sandboxed decoder does not run them, trust them or wait for ever."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.images.dicom_files import film_dataset, ramp, saved
from tests.images.workers import on_linux

ROOT = Path(__file__).resolve().parents[3]
pytestmark = on_linux
# A malicious decoding process: it says that it is ready, waits for the request, and sends a false reply.
MALICIOUS = """#!{python}
import json, os, pickle, sys, time
def frame(message):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body
class Payload:
    def __reduce__(self):
        return os.system, ("touch {mark}",)
os.write(1, frame({{"end": "ready"}}))
os.read(0, 65536)
film = {{"end": "done", "bits": 16, "dtype": "uint16", "shape": [4, 4]}}
pixels = bytes(32)
answers = {{
    "pickle": frame(pickle.dumps(Payload())),
    "bare pickle": pickle.dumps(Payload()),
    "huge frame": (2**32 - 1).to_bytes(4, "big"),
    "empty frame": bytes(4),
    "no object": frame([1, 2]),
    "deep": frame(b"[" * 60000),
    "long number": frame(b'{{"end": ' + b"9" * 60000 + b"}}"),
    "huge shape": frame(film | {{"shape": [30000, 30000]}}),
    "negative shape": frame(film | {{"shape": [-4, -4]}}),
    "bool shape": frame(film | {{"shape": [True, 4]}}),
    "float shape": frame(film | {{"shape": [4.0, 4]}}),
    "three sides": frame(film | {{"shape": [4, 4, 4]}}),
    "object dtype": frame(film | {{"dtype": "object"}}),
    "wide dtype": frame(film | {{"dtype": "float64"}}),
    "no dtype": frame({{"end": "done", "bits": 16}}),
    "many bits": frame(film | {{"bits": 10**9}}),
    "words for bits": frame(film | {{"bits": "16"}}),
    "unknown end": frame({{"end": "splendid"}}),
    "list for text": frame({{"end": "refused", "text": ["a"]}}),
    "few pixels": frame(film) + pixels[:9],
    "silence": b"",
    "escapes": frame({{"end": "refused", "text": "\\x1b[2Jbad\\nnews\\x07\\u202e " + "x" * 5000}}),
    "valid": frame(film) + pixels,
}}
os.write(1, answers[{reply!r}])
time.sleep(60 if {reply!r} == "silence" else 0)
"""
INVALID = "the process that decoded it (was stopped: it )?returned an invalid reply"
INVALID_REPLIES = (
    "pickle",
    "bare pickle",
    "huge frame",
    "empty frame",
    "no object",
    "deep",
    "long number",
    "unknown end",
    "list for text",
    "huge shape",
    "negative shape",
    "bool shape",
    "float shape",
    "three sides",
    "object dtype",
    "wide dtype",
    "no dtype",
    "many bits",
    "words for bits",
)
FALSE_REPLIES = dict.fromkeys(INVALID_REPLIES, INVALID) | {
    "few pixels": "it ended with code 0",
    "silence": "it took longer than 1 s",
    "escapes": r"a\.dcm: \[2Jbad news x{100}",
}
ASKER = """
import resource, sys
from pathlib import Path
from mammo.errors import ImageError
from mammo.images.sandbox.decode import read_untrusted_film
from mammo.images.sandbox.process import Limits
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
sys.executable = sys.argv[2]
try:
    print("film", read_untrusted_film(Path(sys.argv[1]), limits=Limits(seconds=1.0)).pixels.shape)
except ImageError as error:
    print(ascii(str(error)))
"""


def ask_malicious(folder: Path, reply: str) -> str:
    """Read a film with the malicious script as interpreter; return the output of the caller."""
    script = folder / "malicious"
    script.write_text(MALICIOUS.format(python=sys.executable, mark=folder / "ran", reply=reply), encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    path = saved(film_dataset(ramp()), folder / "a.dcm")
    command = [sys.executable, "-c", ASKER, str(path), str(script)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not (folder / "ran").exists()
    return done.stdout


@pytest.mark.parametrize("reply", FALSE_REPLIES)
def test_false_reply_is_one_clear_error(tmp_path: Path, reply: str) -> None:
    assert_matches(FALSE_REPLIES[reply], ask_malicious(tmp_path, reply))


def assert_matches(pattern: str, output: str) -> None:
    assert re.search(pattern, output), output
    assert output.count("\n") == 1
    assert len(output) < 1000
    assert "\\x1b" not in output
    assert "\\u202e" not in output


def test_valid_reply_of_the_same_form_is_a_film(tmp_path: Path) -> None:
    assert ask_malicious(tmp_path, "valid") == "film (4, 4)\n"
