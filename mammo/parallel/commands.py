"""Runs commands in processes of their own, some at a time; they stop when this process stops or dies."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PARENT_VARIABLE = "MAMMO_PARENT"
SECONDS_BETWEEN_LOOKS = 0.2


@dataclass(frozen=True)
class Ended:
    """The end of a command: its number (from 0), its exit code (negative: of a signal), and how long it took."""

    number: int
    code: int
    seconds: float


def run_commands(
    commands: Sequence[tuple[Sequence[str], Path]], processes: int, *, environment: Mapping[str, str]
) -> Generator[Ended, None, None]:
    """Run commands, at most `processes` at a time, and yield each when it ends.

    When the iterator is closed, as after a signal, the commands that run get SIGTERM, and their ends are awaited. They
    are no part of this process's group, so that a terminal's Ctrl-C reaches them once only, as that SIGTERM. Where this
    process is killed, they get it from `stop_with_parent`.

    Args:
        commands: The words of each, and the file to which its output is appended.
        processes: At least 1.
        environment: Variables to set for them.
    """
    waiting = list(enumerate(commands))[::-1]
    running: dict[subprocess.Popen[bytes], tuple[int, float]] = {}
    variables = {**os.environ, **environment, PARENT_VARIABLE: str(os.getpid())}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                number, (words, log) = waiting.pop()
                running[_start(words, log, variables)] = (number, time.monotonic())
            for process in [one for one in running if one.poll() is not None]:
                number, begun = running.pop(process)
                yield Ended(number, process.returncode, time.monotonic() - begun)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        _stop(list(running))


def _start(words: Sequence[str], log: Path, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            words,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask processes to stop, and wait for them; a second signal to this process is passed on as well."""
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
    except KeyboardInterrupt:
        _stop([process for process in processes if process.poll() is None])
        raise


def stop_with_parent() -> None:
    """Send this process SIGTERM when the one that started it with `run_commands` dies; else do nothing."""
    if PARENT_VARIABLE in os.environ:
        threading.Thread(target=_watch, args=(int(os.environ.pop(PARENT_VARIABLE)),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGTERM)
