"""Runs whole trainings with the command: to compare how soon two reach an AUC, or to kill, resume and compare them."""

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

from mammo.bench.measure import Finding, Series, ratio
from mammo.bench.steps import write_settings
from mammo.errors import SplitError, TrainingError, last_line
from mammo.prepare.gather import gather_split, prepare_split
from mammo.runs import run_fingerprint
from mammo.settings.schema import Settings

METRIC = "validation/auc"
SECONDS_BETWEEN_READS = 0.2
LAST_LINES = 3


@dataclass
class Soak:
    """The result: `kills` by what the run was doing; `differing` names what differs, by folder.

    `fell_back` counts damaged checkpoints, for which an earlier one was used.
    """

    kills: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    differing: dict[str, list[str]] = field(default_factory=dict)
    fell_back: int = 0
    seconds: float = 0.0


def bench_reach(
    plain: tuple[str, Settings], quick: tuple[str, Settings], auc: float, train: Sequence[str], rounds: int
) -> Finding:
    """Train each recipe from the start in turns, with another seed each round, and stop it when it reaches the AUC.

    A recipe is a name and settings; both have the same cases in the same parts, which are prepared before. The AUC is
    that of the validation part, as logged for each epoch. `train` is the command that trains, without options.

    Raises:
        SplitError: The two have other cases, or other parts.
        TrainingError: A recipe ends below the AUC, or with an error.
    """
    recipes = (plain, quick if quick[0] != plain[0] else (f"{quick[0]}, again", quick[1]))
    splits = {prepare_split(settings, gather_split(settings)).split.sha256 for _, settings in recipes}
    if len(splits) > 1:
        advice = "times to an AUC on them do not compare; set data alike"
        raise SplitError(f"{plain[0]} and {quick[0]} have other cases or parts, and {advice}")
    took: dict[str, list[float]] = {name: [] for name, _ in recipes}
    for number in range(rounds):
        for name, settings in recipes:
            seconds, epochs = _seconds_to(auc, settings.model_copy(update={"seed": settings.seed + number}), train)
            took[name].append(seconds)
            reached = f"took {seconds:.0f} s, {epochs} epochs, to an AUC of {auc}"
            print(f"round {number + 1} of {rounds}: {name} {reached}", flush=True)
    first, second = (Series(name, tuple(values), "s") for name, values in took.items())
    return Finding(f"time to a validation AUC of {auc}", (first, second), (ratio(first, second, ">= 2"),))


def _seconds_to(auc: float, settings: Settings, train: Sequence[str]) -> tuple[float, int]:
    """Measure from the start of the command to the first logged epoch that reaches the AUC; returns that epoch too."""
    with tempfile.TemporaryDirectory(prefix="mammo-reach-") as place:
        folder = Path(place)
        data = settings.data.model_copy(update={"store": settings.store_folder.absolute()})
        here = settings.model_copy(update={"output": folder, "data": data})
        config, log = write_settings(here, folder / "reach.yaml"), folder / "train.log"
        start = time.perf_counter()
        process = _start([*train, "-c", str(config)], log)
        try:
            while True:
                ended = process.poll() is not None
                for epoch in _epochs(folder):
                    if epoch[METRIC] >= auc:
                        return time.perf_counter() - start, epoch["epoch"]
                if ended:
                    message = last_line(log.read_text(encoding="utf-8"))
                    problem = f"the training ended before a validation AUC of {auc} ({message})"
                    raise TrainingError(f"{problem}; ask for less")
                time.sleep(SECONDS_BETWEEN_READS)
        finally:
            process.kill()
            process.wait()


def _start(line: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a command whose output is appended to a file."""
    with log.open("ab") as file:
        return subprocess.Popen(line, stdout=file, stderr=subprocess.STDOUT)


def _epochs(folder: Path) -> list[dict]:
    """Read what the run has logged so far, without a line that is still being written."""
    logs = list(folder.glob("reach/2*/log.jsonl"))
    text = logs[0].read_text(encoding="utf-8") if logs else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def soak(settings: Settings, train: Sequence[str], *, kills: int, minutes: float) -> Soak:
    """Train once without a break, then kill the same training at random moments and resume it, as often as asked.

    A run that ends before all kills are spent is followed by another. A run that differs from the unbroken one is kept.
    All runs are in a temporary folder; a SIGKILL comes after 0 to twice `minutes / kills`.

    Raises:
        TrainingError: A training ended with an error.
    """
    folder = Path(tempfile.mkdtemp(prefix="mammo-soak-"))
    begun = time.monotonic()
    _go_on(folder / "unbroken", settings, train)
    wanted = run_fingerprint(_run_of(folder / "unbroken") or folder)
    print(f"unbroken run: {time.monotonic() - begun:.0f} s, {_in_short(wanted)}", flush=True)
    result, moments = Soak(), random.Random(0)
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
        print(f"run {result.ended} ended: {_in_short(found)}, {verdict}", flush=True)
        if differing:
            result.differing[str(place)] = differing
        else:
            shutil.rmtree(place)
    result.seconds = time.monotonic() - begun
    if not result.differing:
        shutil.rmtree(folder)
    return result


def _in_short(fingerprint: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:16]


def _go_on(place: Path, settings: Settings, train: Sequence[str], *, longest_s: float | None = None) -> bool:
    """Start or resume a run, and kill it after some seconds; True where it has ended by itself."""
    place.mkdir(exist_ok=True)
    config = write_settings(settings.model_copy(update={"output": place}), place / "soak.yaml")
    run = _run_of(place)
    options = ("--resume", str(run)) if run else ("-c", str(config))
    process = _start([*train, *options], _log_of(place))
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
    return max(place.glob("soak/2*"), default=None)


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
