"""Starts the commands as processes of their own, to be killed, limited and refused."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tiny import tiny_settings

ROOT = Path(__file__).resolve().parent.parent
LONGEST_S = 240
GRACE_S = 20
QUICK = {"resamples": 100}
# Everything random or with a state: augmentation, mixup, dropout, accumulation, averaging, smaller images first, and a
# schedule that depends on results.
LIVELY = {
    "model__backbone": "vision:mobilenet_v3_small",
    "training__epochs": 3,
    "training__batch_size": 4,
    "training__accumulate": 2,
    "training__mixup_alpha": 0.3,
    "training__smaller": [{"factor": 0.75, "until_epoch": 1}],
    "training__schedule": {"name": "plateau", "patience": 1, "factor": 0.5, "warmup_epochs": 0.5},
    "training__checkpoint": {"every_steps": 1},
    "augmentation": [{"name": "affine", "rotate_deg": 40, "p": 0.8}, {"name": "flip_horizontal"}],
    "evaluation": QUICK,
}
# For scripts: not `ru_maxrss`, in which Linux counts the process that started them too.
MOST_KIB = """
def most_kib():
    lines = open("/proc/self/status", encoding="utf-8").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])

"""
may_mount = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0,
    reason="needs a mount namespace of its own, which this user may not make",
)


def settings_file(folder: Path, name: str, **changes: object) -> Path:
    """Write the settings of a tiny run whose output is `folder/name`; the films lie in `folder`."""
    path = folder / f"{name}.yaml"
    settings = tiny_settings(folder, output=str(folder / name), data__store=str(folder / "store"), **(LIVELY | changes))
    path.write_text(settings.model_dump_json(), encoding="utf-8")
    return path


def command(tool: str, *options: str | Path) -> list[str]:
    """The command line of a tool."""
    return [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, options)]


def start(line: list[str], **how: object) -> subprocess.Popen:
    """Start a command; its output is read by `ended`."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | how.pop("environment", {})  # type: ignore[operator]
    return subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **how)  # type: ignore[call-overload]


def ended(process: subprocess.Popen) -> subprocess.CompletedProcess:
    """Wait for a command's end, never for ever: not for processes either that outlive it and hold its output open."""
    try:
        out, told = process.communicate(timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        for child in children(process.pid) if process.poll() is None else []:
            os.kill(child, signal.SIGKILL)
        process.kill()
        try:
            out, told = process.communicate(timeout=GRACE_S)
        except subprocess.TimeoutExpired:
            pytest.fail("hung, and left a process behind that holds its output open")
        pytest.fail(f"hung:\n{out}\n{told}")
    return subprocess.CompletedProcess(process.args, process.returncode, out, told)


def call(line: list[str], **how: object) -> subprocess.CompletedProcess:
    """Run a command to its end."""
    return ended(start(line, **how))


def wait_until(process: subprocess.Popen, happens: Callable[[], bool]) -> bool:
    """Wait until something is seen, or the process has ended; returns whether it was seen."""
    begun = time.monotonic()
    while process.poll() is None and time.monotonic() - begun < LONGEST_S:
        if happens():
            return True
        time.sleep(0.0005)
    return False


def send(process: subprocess.Popen, number: int, happens: Callable[[], bool]) -> subprocess.CompletedProcess:
    """Send a signal as soon as something is seen."""
    assert wait_until(process, happens), ended(process)
    process.send_signal(number)
    return ended(process)


def kill(process: subprocess.Popen, happens: Callable[[], bool]) -> subprocess.CompletedProcess:
    """Kill as soon as something is seen: no handler runs, nothing is tidied up."""
    killed = send(process, signal.SIGKILL, happens)
    assert killed.returncode == -signal.SIGKILL
    return killed


def only_run(folder: Path, name: str) -> Path:
    """The one run of a settings file."""
    (run,) = (folder / name / name).glob("2*")
    return run


def trained_run(folder: Path, name: str, **changes: object) -> Path:
    """Train a tiny run to its end, on the films of a folder."""
    done = call(command("train", "-c", settings_file(folder, name, **changes)))
    assert done.returncode == 0, done.stderr
    return only_run(folder, name)


def refused(done: subprocess.CompletedProcess, *words: str) -> str:
    """Check that a command ended with one line, code 2, and these words; return the line."""
    assert done.returncode == 2, (done.stdout, done.stderr)
    lines = [line for line in done.stderr.splitlines() if line.startswith("mammo: error: ")]
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    for word in words:
        assert word in lines[0], lines[0]
    return lines[0]


def children(process: int) -> list[int]:
    """The processes that one has started."""
    return [int(name) for name in Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()]
