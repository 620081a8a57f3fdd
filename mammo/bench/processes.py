"""A module and its arguments enter; the last line that it prints as a process of its own leaves."""

import os
import subprocess
import sys
from collections.abc import Mapping

from mammo.errors import TrainingError


def last_line_of(module: str, *arguments: object, environment: Mapping[str, str] | None = None) -> str:
    """Run a module of `mammo.bench` in a fresh Python.

    Args:
        module: Its name there.
        arguments: Of its command line.
        environment: Instead of this process's own.

    Raises:
        TrainingError: It failed; its last words are told.
    """
    line = [sys.executable, "-m", f"mammo.bench.{module}", *map(str, arguments)]
    done = subprocess.run(line, env=environment or os.environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TrainingError(
            f"the benchmark's process {module} failed: {last_line(done.stderr) or f'code {done.returncode}'}"
        )
    return last_line(done.stdout)


def last_line(text: str) -> str:
    """The last line that is not empty; nothing where there is none."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")
