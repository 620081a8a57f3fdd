"""What the system says about the decoding processes of a process: which there are, their state, limits and memory (Linux)."""

import os
import sys
import time
from pathlib import Path

import pytest

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")


def workers_of(parent: int | None = None) -> list[int]:
    """The decoding processes that a process has started and not yet buried, zombies included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _field(int(entry.name), "PPid") == str(parent or os.getpid()):
            command = _read(entry / "cmdline")
            if "door_worker" in command or _field(int(entry.name), "State").startswith("Z"):
                found.append(int(entry.name))
    return sorted(found)


def is_alive(process: int) -> bool:
    """Whether it runs; a zombie does not."""
    return _field(process, "State")[:1] not in ("", "Z", "X")


def peak_bytes(process: int) -> int:
    """The most address space that it ever had; 0 when it is gone."""
    words = _field(process, "VmPeak").split()
    return int(words[0]) * 1024 if words else 0


def has_open(process: int, path: Path) -> bool:
    """Whether it has a file open, as it has while it decodes it."""
    try:
        return any(os.readlink(handle) == str(path) for handle in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False


def wait_until(condition: object, *, seconds: float = 20.0) -> bool:
    """Ask a function again and again; False when it never says yes."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.005)
    return False


def _field(process: int, name: str) -> str:
    for line in _read(Path(f"/proc/{process}/status")).splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
