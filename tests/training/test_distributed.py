"""Two processes of `paddle.distributed.launch` train one network to the same weights, scores and log as one process."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from mammo.model.checkpoint import read_checkpoint
from tests.images.workers import is_alive
from tests.processes import (
    LIVELY,
    call,
    children,
    command,
    ended,
    only_run,
    refused,
    settings_file,
    start,
    trained_run,
    wait_until,
)

pytestmark = pytest.mark.slow
# Not Adam: it takes full steps along gradients that are rounding errors, which differ with the order of additions.
OPTIMIZER = {"name": "momentum", "learning_rate": 0.01}
# Dropout, mixup, averaging and accumulation are the same for one and for two; batch-norm sees other batches: frozen.
TOGETHER = LIVELY | {
    "training__freeze": {"batch_norm": True},
    "training__batch_size": 4,
    "model__dropout": 0.4,
    "training__optimizer": OPTIMIZER,
    "model__backbone": "ResNet18_vd",
}
# Longer than it takes another command to start.
ENDLESS = {"training__epochs": 60, "training__early_stopping": {"patience": 60}}


def launch(folder: Path, *options: str | Path, processes: int = 2) -> list[str]:
    line = [
        sys.executable,
        "-m",
        "paddle.distributed.launch",
        "--nproc_per_node",
        str(processes),
        "--log_dir",
        str(folder / "processes"),
    ]
    return [*line, *command("train", *options)[1:]]


def trainers_of(launcher: subprocess.Popen) -> list[int]:
    """The processes that it has started to train."""
    return [child for child in children(launcher.pid) if b"train.py" in Path(f"/proc/{child}/cmdline").read_bytes()]


def weights_of(run: Path, group: str = "last") -> dict[str, np.ndarray]:
    return load_file(run / "checkpoints" / group / "network.safetensors")


def largest_difference(run: Path, other: Path) -> float:
    first, second = weights_of(run), weights_of(other)
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


@pytest.fixture(scope="module")
def alone(films: Path) -> Path:
    return trained_run(films, "alone", **TOGETHER)


@pytest.fixture(scope="module")
def together(films: Path) -> Path:
    done = call(launch(films, "-c", settings_file(films, "together", **TOGETHER)))
    assert done.returncode == 0, done.stdout + done.stderr
    return only_run(films, "together")


def test_two_processes_end_with_the_weights_of_one(alone: Path, together: Path) -> None:
    steps = json.loads((alone / "checkpoints" / "last" / "state.json").read_text(encoding="utf-8"))["step"]
    assert steps >= 10
    assert 0 < largest_difference(alone, together) <= 1e-5


def test_scores_and_log_are_of_every_case_once(alone: Path, together: Path) -> None:
    for name in ("scores_validation.csv", "scores_test.csv"):
        first, second = (pd.read_csv(run / name) for run in (alone, together))
        assert first["case_id"].tolist() == second["case_id"].tolist()
        assert second["logit"].to_numpy() == pytest.approx(first["logit"].to_numpy(), abs=1e-4)
    logs = [
        [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
        for run in (alone, together)
    ]
    assert len(logs[0]) == len(logs[1]) == 3
    for first, second in zip(*logs, strict=True):
        assert first.keys() == second.keys()
        for name in (name for name in first if not name.startswith("time")):
            assert second[name] == pytest.approx(first[name], abs=1e-3), name


def test_one_process_writes(together: Path, films: Path) -> None:
    assert len(list((films / "together" / "together").glob("2*"))) == 1
    assert "run folder" in (films / "processes" / "workerlog.0").read_text(encoding="utf-8")


def test_killed_run_goes_on_with_another_number_of_processes(alone: Path, films: Path) -> None:
    config = settings_file(films, "killed", **TOGETHER)
    process = start(launch(films, "-c", config))

    def has_saved() -> bool:
        found = list((films / "killed").glob("killed/2*/checkpoints/last/state.json"))
        return bool(found) and json.loads(found[0].read_text(encoding="utf-8"))["step"] >= 4

    assert wait_until(process, lambda: _safely(has_saved))
    for number in (process.pid, *children(process.pid)):
        os.kill(number, signal.SIGKILL)
    ended(process)
    run = only_run(films, "killed")
    done = call(command("train", "--resume", run))
    assert done.returncode == 0, done.stderr
    assert "resuming at epoch" in done.stdout
    assert largest_difference(alone, run) <= 1e-5


def _safely(happens: object) -> bool:
    try:
        return bool(happens())  # type: ignore[operator]
    except (OSError, ValueError):
        return False


def test_a_process_that_dies_ends_the_others_and_the_run_goes_on_in_two(alone: Path, films: Path) -> None:
    process = start(launch(films, "-c", settings_file(films, "halved", **TOGETHER)))
    assert wait_until(process, lambda: bool(list((films / "halved").glob("halved/2*/checkpoints/last/state.json"))))
    workers = trainers_of(process)
    os.kill(workers[-1], signal.SIGKILL)
    assert ended(process).returncode != 0
    run = only_run(films, "halved")
    done = call(launch(films, "--resume", run))
    assert done.returncode == 0, done.stdout + done.stderr
    assert largest_difference(alone, run) <= 1e-5


def test_processes_whose_launcher_was_killed_end_with_the_one_that_resume_names(films: Path) -> None:
    process = start(launch(films, "-c", settings_file(films, "orphaned", **(TOGETHER | ENDLESS))))
    assert wait_until(process, lambda: bool(list((films / "orphaned").glob("orphaned/2*/checkpoints/last/state.json"))))
    workers = trainers_of(process)
    try:
        process.kill()
        ended(process)
        run = only_run(films, "orphaned")
        message = refused(call(command("train", "--resume", run)), "this run is being written by another process")
        writer = int(re.search(r"another process \((\d+) on", message)[1])
        assert writer in workers
        os.kill(writer, signal.SIGTERM)
        end = time.monotonic() + 60
        while any(map(is_alive, workers)):
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        for worker in filter(is_alive, workers):
            os.kill(worker, signal.SIGKILL)
    log = (films / "processes" / "workerlog.0").read_text(encoding="utf-8")
    assert f"stopped by SIGTERM; go on with: mammo train --resume {run}" in log
    assert read_checkpoint(run / "checkpoints" / "last").state["step"] > 2


def test_batches_that_cannot_be_shared_are_refused(films: Path) -> None:
    done = call(launch(films, "-c", settings_file(films, "odd", **(TOGETHER | {"training__batch_size": 5}))))
    assert done.returncode != 0
    assert "training.batch_size: 5 cases cannot be shared evenly by 2 processes" in (
        films / "processes" / "workerlog.0"
    ).read_text(encoding="utf-8")
