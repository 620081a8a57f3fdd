"""Two recipes on the same cases enter; how long each trains until its validation part is ranked well enough leaves."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mammo.bench.measure import Finding, Series, ratio
from mammo.bench.processes import last_line
from mammo.errors import SplitError, TrainingError
from mammo.settings.load import dump_settings
from mammo.settings.schema import Settings

METRIC = "validation/auc"
LOOKS_EVERY_S = 0.2
BAR = ">= 2"


def bench_reach(
    plain: tuple[str, Settings], quick: tuple[str, Settings], auc: float, train: Path, rounds: int
) -> Finding:
    """Train each recipe from the start in turns, each round with another seed, and stop it where it has reached the AUC.

    Args:
        plain: A name and settings; the cases are prepared before.
        quick: Another, for the same cases in the same parts.
        auc: Of the validation part, by the metric that each epoch is logged with.
        train: The command, tools/train.py.
        rounds: How often.

    Raises:
        SplitError: The two have other cases, or other parts.
        TrainingError: A recipe ends without it, or with an error.
    """
    from mammo.prepare.gather import gather_split, prepare_split

    recipes = (plain, quick if quick[0] != plain[0] else (f"{quick[0]}, again", quick[1]))
    splits = {prepare_split(settings, gather_split(settings)).split.sha256 for _, settings in recipes}
    if len(splits) > 1:
        raise SplitError(
            f"{plain[0]} and {quick[0]} have other cases or parts, and times to an AUC on them do not compare; set data alike"
        )
    took: dict[str, list[float]] = {name: [] for name, _ in recipes}
    for number in range(rounds):
        for name, settings in recipes:
            seconds, epochs = _seconds_to(auc, settings.model_copy(update={"seed": settings.seed + number}), train)
            took[name].append(seconds)
            print(
                f"round {number + 1} of {rounds}: {name} took {seconds:.0f} s, {epochs} epochs, to an AUC of {auc}",
                flush=True,
            )
    first, second = (Series(name, tuple(values), "s") for name, values in took.items())
    return Finding(
        f"time to a validation AUC of {auc}",
        (first, second),
        (ratio(f"{first.name} / {second.name}", first, second, BAR),),
    )


def _seconds_to(auc: float, settings: Settings, train: Path) -> tuple[float, int]:
    """From the start of the command to the logged epoch that has reached it; and which epoch that is."""
    with tempfile.TemporaryDirectory(prefix="mammo-reach-") as place:
        folder = Path(place)
        config = folder / "reach.yaml"
        here = settings.model_copy(
            update={
                "output": folder,
                "data": settings.data.model_copy(update={"store": settings.store_folder.absolute()}),
            }
        )
        config.write_text(dump_settings(here), encoding="utf-8")
        start = time.perf_counter()
        with (folder / "told.log").open("wb") as told:
            process = subprocess.Popen(
                [sys.executable, str(train), "-c", str(config)], stdout=told, stderr=subprocess.STDOUT
            )
        try:
            while True:
                ended = process.poll() is not None
                reached = [values for values in _epochs(folder) if values[METRIC] >= auc]
                if reached:
                    return time.perf_counter() - start, reached[0]["epoch"]
                if ended:
                    said = last_line((folder / "told.log").read_text(encoding="utf-8"))
                    raise TrainingError(f"the training ended before a validation AUC of {auc} ({said}); ask for less")
                time.sleep(LOOKS_EVERY_S)
        finally:
            process.kill()
            process.wait()


def _epochs(folder: Path) -> list[dict]:
    """What the run has logged by now; a line that is still being written is left for the next look."""
    logs = list((folder / "reach").glob("2*/log.jsonl"))
    text = logs[0].read_text(encoding="utf-8") if logs else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
