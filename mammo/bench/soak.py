"""Kills a training at random, resumes it, and compares its end with that of an unbroken training."""

import hashlib
import json
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo.bench.steps import write_settings
from mammo.errors import TrainingError
from mammo.runs import run_fingerprint
from mammo.settings.schema import Settings

NAME = "soak"
LAST_LINES = 3


@dataclass
class Soak:
    """The result: `kills` by what the run was doing; `differing` names what differs, by folder.

    `fell_back` counts damaged checkpoints, for which an earlier one was used.
    """

    unbroken_s: float
    kills: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    differing: dict[str, list[str]] = field(default_factory=dict)
    fell_back: int = 0
    seconds: float = 0.0


def soak(settings: Settings, train: Sequence[str], *, kills: int, minutes: float, seed: int = 0) -> Soak:
    """Train once without a break, then kill the same training at random moments and resume it, as often as asked.

    A run that ends before all kills are spent is followed by another. A run that differs from the unbroken one is kept.

    Args:
        settings: Of the training; the output goes to a temporary folder.
        train: The command that trains, without options.
        kills: Number of SIGKILLs in all.
        minutes: How long that should take: a kill comes after 0 to twice `minutes / kills`.
        seed: Of the moments.

    Raises:
        TrainingError: A training ended with an error.
    """
    folder = Path(tempfile.mkdtemp(prefix="mammo-soak-"))
    begun = time.monotonic()
    _go_on(folder / "unbroken", settings, train)
    wanted = run_fingerprint(_run_of(folder / "unbroken") or folder)
    result = Soak(unbroken_s=time.monotonic() - begun)
    print(f"unbroken run: {result.unbroken_s:.0f} s, {in_short(wanted)}", flush=True)
    moments = random.Random(seed)
    begun = time.monotonic()
    while result.kills.total() < kills:
        place = folder / f"killed_{result.ended}"
        while result.kills.total() < kills:
            longest = moments.uniform(0, 120 * minutes / kills)
            if _go_on(place, settings, train, longest_s=longest):
                break
            at = _state_of(_run_of(place))
            result.kills[at] += 1
            print(f"kill {result.kills.total()} of {kills} after {longest:.1f} s: {at}", flush=True)
        else:
            _go_on(place, settings, train)
        result.ended += 1
        found = run_fingerprint(_run_of(place) or folder)
        differing = [key for key in wanted if found.get(key) != wanted[key]]
        result.fell_back += _log_of(place).read_text(encoding="utf-8").count("Falling back")
        verdict = "as the unbroken one" if not differing else "ANOTHER"
        print(f"run {result.ended} ended: {in_short(found)}, {verdict}", flush=True)
        if differing:
            result.differing[str(place)] = differing
        else:
            shutil.rmtree(place)
    result.seconds = time.monotonic() - begun
    if not result.differing:
        shutil.rmtree(folder)
    return result


def in_short(fingerprint: dict[str, str]) -> str:
    """Give one hash of a `run_fingerprint`."""
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:16]


def _go_on(place: Path, settings: Settings, train: Sequence[str], *, longest_s: float | None = None) -> bool:
    """Start or resume a run, and kill it after some seconds; True where it has ended by itself."""
    place.mkdir(exist_ok=True)
    config = write_settings(settings.model_copy(update={"output": place}), place / f"{NAME}.yaml")
    run = _run_of(place)
    line = [*train, *(("--resume", str(run)) if run else ("-c", str(config)))]
    with _log_of(place).open("ab") as log:
        process = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT)
        try:
            code = process.wait(longest_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait() != -signal.SIGKILL
    if code:
        last = " | ".join(_log_of(place).read_text(encoding="utf-8").splitlines()[-LAST_LINES:])
        raise TrainingError(f"{place}: ended with code {code}: {last}")
    return True


def _log_of(place: Path) -> Path:
    return place.with_name(f"{place.name}.log")


def _run_of(place: Path) -> Path | None:
    runs = sorted((place / NAME).glob("2*"))
    return runs[-1] if runs else None


def _state_of(run: Path | None) -> str:
    """Say what a killed run was doing."""
    if run is None:
        return "before it had a folder"
    checkpoints = run / "checkpoints"
    if (run / "scores_validation.csv").exists():
        return "in judgement"
    if not checkpoints.exists():
        return "before anything was saved"
    if any(checkpoints.glob(".*.new")) or not (checkpoints / "last" / "state.json").exists():
        return "while a checkpoint was written"
    state = json.loads((checkpoints / "last" / "state.json").read_text(encoding="utf-8"))
    return f"in epoch {state['epoch'] + 1}"
