"""Commands enter; how long they take to begin leaves: to their help, and a training to its first batch."""

import subprocess
import sys
import time
from pathlib import Path

from mammo.bench.measure import Finding, Ratio, in_turns, seconds
from mammo.errors import TrainingError
from mammo.settings.load import dump_settings
from mammo.settings.schema import Settings

BARS = {"train --help": "<= 0.3", "training to its first batch": "<= 6"}
SAYS = "first batch"


def bench_start(settings: Settings, rounds: int) -> Finding:
    """Time both; the data are prepared before."""
    from mammo.prepare.gather import gather_split, prepare_split

    prepare_split(settings, gather_split(settings))
    settings.output.mkdir(parents=True, exist_ok=True)
    config = settings.output / "bench_start.yaml"
    config.write_text(dump_settings(settings), encoding="utf-8")
    what = {"train --help": _help, "training to its first batch": lambda: _first_batch(config)}
    measured = in_turns(what, rounds, "s")
    config.unlink()
    return Finding(
        "command start",
        tuple(measured.values()),
        tuple(Ratio(f"{name}, s", measured[name].values, bar) for name, bar in BARS.items()),
    )


def _help() -> float:
    tool = Path(sys.argv[0]).with_name("train.py")  # beside tools/bench.py
    return seconds(lambda: subprocess.run([sys.executable, str(tool), "--help"], check=True, stdout=subprocess.DEVNULL))


def _first_batch(config: Path) -> float:
    """From the start of a Python process to the end of the first training step."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "mammo.bench.start", str(config)], stdout=subprocess.PIPE, text=True
    )
    for line in process.stdout or ():
        if SAYS in line:
            took = time.perf_counter() - start
            process.kill()
            process.communicate()
            return took
    raise TrainingError("the benchmark's training ended before its first batch")


def main() -> None:
    """As a process of its own: load what a training loads, take one step, and say so."""
    import mammo.training.folds  # noqa: F401
    from mammo.bench.steps import first_batches
    from mammo.runtime import select_device
    from mammo.settings.load import load_settings

    settings = load_settings(Path(sys.argv[1]))
    select_device(settings.device)
    tuner, batches = first_batches(settings)
    batch = next(iter(batches))
    tuner.train_batch(batch[:2], batch[2:])
    print(SAYS)


if __name__ == "__main__":
    main()
