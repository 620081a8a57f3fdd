"""Measures how long two recipes train on the same cases until the validation part reaches a given AUC."""

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from mammo.bench.measure import Finding, Series, last_line, ratio
from mammo.bench.steps import write_settings
from mammo.errors import SplitError, TrainingError
from mammo.prepare.gather import gather_split, prepare_split
from mammo.settings.schema import Settings

METRIC = "validation/auc"
SECONDS_BETWEEN_READS = 0.2


def bench_reach(
    plain: tuple[str, Settings], quick: tuple[str, Settings], auc: float, train: Sequence[str], rounds: int
) -> Finding:
    """Train each recipe from the start in turns, with another seed each round, and stop it when it reaches the AUC.

    Args:
        plain: A name and settings; the cases are prepared before.
        quick: Another, for the same cases in the same parts.
        auc: Of the validation part, by the metric that each epoch is logged with.
        train: The command that trains, without options.
        rounds: Number of rounds.

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
        with log.open("wb") as file:
            process = subprocess.Popen([*train, "-c", str(config)], stdout=file, stderr=subprocess.STDOUT)
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


def _epochs(folder: Path) -> list[dict]:
    """Read what the run has logged so far, without a line that is still being written."""
    logs = list((folder / "reach").glob("2*/log.jsonl"))
    text = logs[0].read_text(encoding="utf-8") if logs else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
