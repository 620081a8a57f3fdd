"""A training killed at random again and again, and resumed: does it end as the one that was left alone?"""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mammo.errors import TrainingError
from mammo.files import write_text
from mammo.runs import run_fingerprint
from mammo.settings.load import dump_settings
from mammo.settings.schema import Settings

NAME = "soak"
LAST_LINES = 3


@dataclass
class Soak:
    """What came of it; `kills` are counted by what the run was at."""

    unbroken_s: float
    kills: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    differing: dict[str, list[str]] = field(default_factory=dict)
    fell_back: int = 0
    seconds: float = 0.0


def soak(settings: Settings, train: Path, *, kills: int, minutes: float, seed: int = 0) -> Soak:
    """Train once without a break, then kill the same training at random moments and resume it, as often as asked.

    Killed runs that end before all kills are spent are followed by others. A run that differs from the unbroken one is kept.

    Args:
        settings: Of the training; the output goes to a temporary folder.
        train: The command, tools/train.py.
        kills: SIGKILLs in all.
        minutes: How long that should take: a kill comes after 0 to twice `minutes / kills`.
        seed: Of the moments.

    Raises:
        TrainingError: A training ended with an error.
    """
    folder = Path(tempfile.mkdtemp(prefix="mammo-soak-"))
    begun = time.monotonic()
    _go_on(folder, "unbroken", settings, train)
    wanted = run_fingerprint(_run_of(folder, "unbroken") or folder)
    result = Soak(unbroken_s=time.monotonic() - begun)
    print(f"unbroken run: {result.unbroken_s:.0f} s, {in_short(wanted)}", flush=True)
    moments = random.Random(seed)
    begun = time.monotonic()
    while result.kills.total() < kills:
        name = f"killed_{result.ended}"
        while result.kills.total() < kills:
            longest = moments.uniform(0, 120 * minutes / kills)
            if _go_on(folder, name, settings, train, longest_s=longest):
                break
            at = _what_it_was_at(_run_of(folder, name))
            result.kills[at] += 1
            print(f"kill {result.kills.total()} of {kills} after {longest:.1f} s: {at}", flush=True)
        else:
            _go_on(folder, name, settings, train)
        result.ended += 1
        found = run_fingerprint(_run_of(folder, name) or folder)
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        result.fell_back += (folder / f"{name}.log").read_text(encoding="utf-8").count("Falling back")
        print(
            f"run {result.ended} ended: {in_short(found)}, {'as the unbroken one' if not differing else 'ANOTHER'}",
            flush=True,
        )
        if differing:
            result.differing[str(folder / name)] = differing
        else:
            shutil.rmtree(folder / name)
    result.seconds = time.monotonic() - begun
    if not result.differing:
        shutil.rmtree(folder)
    return result


def in_short(found: dict[str, str]) -> str:
    """One hash of all that `run_fingerprint` tells."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


def _go_on(folder: Path, name: str, settings: Settings, train: Path, *, longest_s: float | None = None) -> bool:
    """Start or resume a run and let it be for so long; then kill it. True where it ended by itself."""
    config = folder / name / f"{NAME}.yaml"
    config.parent.mkdir(exist_ok=True)
    write_text(config, dump_settings(settings.model_copy(update={"output": folder / name})))
    run = _run_of(folder, name)
    line = [sys.executable, str(train), *(("--resume", str(run)) if run else ("-c", str(config)))]
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT)
        try:
            code = process.wait(longest_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait() != -signal.SIGKILL
    if code:
        last = " | ".join((folder / f"{name}.log").read_text(encoding="utf-8").splitlines()[-LAST_LINES:])
        raise TrainingError(f"{folder / name}: ended with code {code}: {last}")
    return True


def _run_of(folder: Path, name: str) -> Path | None:
    runs = sorted((folder / name / NAME).glob("2*"))
    return runs[-1] if runs else None


def _what_it_was_at(run: Path | None) -> str:
    if run is None:
        return "before it had a folder"
    checkpoints = run / "checkpoints"
    if (run / "scores_validation.csv").exists():
        return "in judgement"
    if not checkpoints.exists():
        return "before anything was saved"
    if any(checkpoints.glob(".*.new")) or not (checkpoints / "last" / "state.json").exists():
        return "in a checkpoint's write"
    state = json.loads((checkpoints / "last" / "state.json").read_text(encoding="utf-8"))
    return f"in epoch {state['epoch'] + 1}"
