"""Reads from /proc which decoding processes a process has, with their state, open files and memory (Linux)."""

import os
import sys
import time
from pathlib import Path

import pytest

on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def workers_of(parent: int | None = None) -> list[int]:
    """Return the decoding processes that are children of a process, zombies included."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and _field(int(entry.name), "PPid") == str(parent or os.getpid()):
            command = _read(entry / "cmdline")
            if "sandbox.worker" in command or _field(int(entry.name), "State").startswith("Z"):
                found.append(int(entry.name))
    return sorted(found)


def is_alive(process: int) -> bool:
    """Whether a process runs; a zombie does not."""
    return _field(process, "State")[:1] not in ("", "Z", "X")


def peak_bytes(process: int) -> int:
    """Return the largest address space that a process ever had; 0 if it has ended."""
    words = _field(process, "VmPeak").split()
    return int(words[0]) * 1024 if words else 0


def has_open(process: int, path: Path) -> bool:
    """Whether a process has a file open, as while it decodes it."""
    try:
        return any(os.readlink(handle) == str(path) for handle in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False


def wait_until(condition: object, *, seconds: float = 20.0) -> bool:
    """Call a function until it returns true; False if it never does."""
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
