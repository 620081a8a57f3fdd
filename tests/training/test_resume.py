"""A run may be killed at any moment: resumed, it ends with the same weights, scores and log as an unbroken run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from visualdl import LogReader

from mammo.data.loader import SHARED_MEMORY
from mammo.errors import SettingsError
from mammo.files import locked
from mammo.model.checkpoint import last_good
from mammo.runs import LOCK_FILE, VISUALDL_FILE, curves_folder, run_fingerprint
from mammo.settings.load import load_settings
from mammo.training.resuming import refuse_other_settings
from tests.processes import (
    call,
    children,
    command,
    ended,
    kill,
    only_run,
    refused,
    send,
    settings_file,
    start,
    trained_run,
    wait_until,
)
from tests.tiny import write_films

pytestmark = pytest.mark.slow
SIGNAL_IN_SWAP = """
import os, signal, sys
from pathlib import Path
from mammo.commands.shared import run
from mammo.settings.load import load_settings
from mammo.training.trainer import WeightAverage
from mammo.training.folds import train

config, swap = Path(sys.argv[1]), int(sys.argv[2])

class SlowAverage(WeightAverage):
    swaps = 0

    def __init__(self, network, decay):
        super().__init__(network, decay)
        self.all_at_once, network.set_state_dict = network.set_state_dict, self.one_by_one

    def one_by_one(self, state):
        SlowAverage.swaps += 1
        for number, (name, value) in enumerate(state.items()):
            self.all_at_once({**self._network.state_dict(), name: value})
            if SlowAverage.swaps == swap and number == len(state) // 2:
                os.kill(os.getpid(), signal.SIGTERM)

import mammo.training.trainer as trainer
trainer.WeightAverage = SlowAverage
run(lambda: train(load_settings(config), config.stem) and None)
"""


@pytest.fixture(scope="module")
def whole(films: Path) -> dict[str, str]:
    return run_fingerprint(trained_run(films, "whole"))


def seen(path: Path, words: str = "") -> bool:
    try:
        return words in path.read_text(encoding="utf-8")
    except OSError:
        return False


def go_on(films: Path, name: str) -> subprocess.Popen:
    return start(command("train", "--resume", only_run(films, name)))


def end(films: Path, name: str) -> subprocess.CompletedProcess:
    done = ended(go_on(films, name))
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_again_and_again_it_ends_bit_identical(films: Path, whole: dict[str, str], workers: int) -> None:
    name = f"killed{workers}"
    first = start(command("train", "-c", settings_file(films, name, training__workers=workers)))
    kill(first, lambda: any((films / name / name).glob("2*/environment.json")))  # before anything is saved
    run = only_run(films, name)
    last, best = run / "checkpoints" / "last", run / "checkpoints" / "best"
    moments = {
        "within the steps of the first epoch": lambda: seen(last / "state.json", '"step": 2,'),
        "in the write of a checkpoint": lambda: (last.with_name(".last.new") / "network.safetensors").exists(),
        "in the scoring after an epoch": lambda: seen(last / "state.json", '"batch": 8,'),
        "in the write of the best": lambda: (best.with_name(".best.new") / "state.json").exists(),
        "within the steps of the last epoch": lambda: seen(last / "state.json", '"epoch": 2,'),
        "in the judgement": lambda: (run / "scores_validation.csv").exists(),
    }
    for what, happens in moments.items():
        kill(go_on(films, name), happens)
        if (run / "checkpoints").exists():
            assert last_good(last).tensors["network"], what
    end(films, name)
    assert run_fingerprint(run) == whole


def test_log_of_a_resumed_run_has_each_epoch_once(films: Path, whole: dict[str, str]) -> None:
    name = "logged"
    kill(
        start(command("train", "-c", settings_file(films, name))),
        lambda: any((films / name / name).glob("2*/log.jsonl")),
    )
    end(films, name)
    run = only_run(films, name)
    assert [json.loads(line)["epoch"] for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()] == [
        1,
        2,
        3,
    ]
    with LogReader(file_path=str(curves_folder(run.parents[1], run) / VISUALDL_FILE)) as reader:
        assert [record.id for record in reader.get_data("scalar", "validation/auc")] == [1, 2, 3]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_finishes_the_step_and_says_how_to_go_on(
    films: Path, whole: dict[str, str], number: int, code: int
) -> None:
    name = f"asked{code}"
    process = start(command("train", "-c", settings_file(films, name, training__checkpoint={}, training__workers=2)))
    done = send(process, number, lambda: any((films / name / "visualdl" / name).glob("2*/*")))
    assert done.returncode == code
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mammo: error: ")]
    run = only_run(films, name)
    assert line.endswith(f"go on with: mammo train --resume {run}")
    assert last_good(run / "checkpoints" / "last").state["epoch"] == 0
    end(films, name)
    assert run_fingerprint(run) == whole


def test_signal_in_scoring_stops_there_and_scores_again(films: Path, whole: dict[str, str]) -> None:
    name = "scoring"
    process = start(command("train", "-c", settings_file(films, name)))
    run_of = (films / name / name).glob
    done = send(
        process,
        signal.SIGTERM,
        lambda: any(seen(file, '"batch": 8,') for file in run_of("2*/checkpoints/last/state.json")),
    )
    assert done.returncode == 143
    end(films, name)
    assert run_fingerprint(only_run(films, name)) == whole


@pytest.mark.parametrize("pause_s", [0.0, 0.3, 0.7])
def test_signal_to_all_processes_finishes_the_step(films: Path, whole: dict[str, str], pause_s: float) -> None:
    """As a batch system sends it: the loader's workers die at once, the main process is somewhere in a step."""
    name = f"group{pause_s}"
    config = settings_file(films, name, training__checkpoint={"every_minutes": 0}, training__workers=2)
    process = start(command("train", "-c", config), start_new_session=True)
    assert wait_until(process, lambda: any((films / name / "visualdl" / name).glob("2*/*")))
    time.sleep(pause_s)
    os.killpg(process.pid, signal.SIGTERM)
    done = ended(process)
    run = only_run(films, name)
    assert (done.returncode, done.stderr.strip().splitlines()[-1].endswith(f"--resume {run}")) == (143, True), (
        done.stderr
    )
    assert "Traceback" not in done.stderr
    end(films, name)
    assert run_fingerprint(run) == whole


@pytest.mark.parametrize("swap", [1, 2])
def test_signal_within_the_swap_of_averaged_weights_mixes_nothing(
    films: Path, whole: dict[str, str], swap: int
) -> None:
    """The averaged weights are swapped in for scoring (swap 1) and out again (2); the signal comes midway."""
    name = f"swap{swap}"
    line = [sys.executable, "-c", SIGNAL_IN_SWAP, str(settings_file(films, name, training__checkpoint={})), str(swap)]
    done = call(line)
    assert done.returncode == 143, done.stderr
    end(films, name)
    assert run_fingerprint(only_run(films, name)) == whole


def test_killed_run_leaves_nothing_in_shared_memory(films: Path) -> None:
    name = "shared"
    process = start(command("train", "-c", settings_file(films, name, training__workers=2, training__epochs=40)))
    assert wait_until(process, lambda: any((films / name / name).glob("2*/checkpoints/last")))
    workers = children(process.pid)
    assert [file for worker in workers for file in SHARED_MEMORY.glob(f"paddle_{worker}_*")]
    kill(process, lambda: True)
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [file for worker in workers for file in SHARED_MEMORY.glob(f"paddle_{worker}_*")] == []


def test_second_writer_of_a_run_is_refused(films: Path) -> None:
    name = "twice"
    config = settings_file(films, name, training__epochs=40)
    process = start(command("train", "-c", config))
    assert wait_until(process, lambda: any((films / name / name).glob("2*/checkpoints/last")))
    run = only_run(films, name)
    refused(
        call(command("train", "--resume", run)), "this run is being written by another process", f"({process.pid} on "
    )
    second = start(command("train", "-c", config, "-o", "training.epochs=1"))
    assert ended(second).returncode == 0  # another run in the same output folder
    assert send(process, signal.SIGINT, lambda: True).returncode == 130
    assert len(list((films / name / name).glob("2*"))) == 2
    with locked(run / LOCK_FILE, doing=str(run)):  # free again
        pass


def test_settings_that_changed_are_refused_with_the_difference(films: Path, whole: dict[str, str]) -> None:
    run = shutil.copytree(only_run(films, "whole"), films / "edited" / "edited" / "2000")
    config = run / "config.yaml"
    config.write_text(
        config.read_text(encoding="utf-8").replace("learning_rate: 0.001", "learning_rate: 0.002"), encoding="utf-8"
    )
    refused(call(command("train", "--resume", run)), "training.optimizer.learning_rate was 0.001, is now 0.002")
    other = settings_file(films, "whole", seed=3, training__epochs=9)
    refused(
        call(command("train", "-c", other, "--resume", only_run(films, "whole"))),
        "keeps its settings: seed was 0, is now 3; set",
    )


def test_a_run_of_a_version_without_a_newer_key_goes_on(films: Path, whole: dict[str, str]) -> None:
    settings = load_settings(only_run(films, "whole") / "config.yaml", ["training.smaller=[]"])
    before = settings.model_dump(mode="json")
    del before["training"]["smaller"]
    refuse_other_settings(films, before, settings)
    with pytest.raises(SettingsError, match="seed was 0, is now 1"):
        refuse_other_settings(films, before, settings.model_copy(update={"seed": 1}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: "\n".join(text.splitlines()[:-1]) + "\n", "1 cases gone (L23MLO)"),
        (lambda text: text.replace("L02CC,mass,0", "L02CC,mass,1"), "1 cases of another label (L02CC)"),
    ],
)
def test_data_that_changed_are_refused_with_the_difference(tmp_path: Path, change: object, message: str) -> None:
    manifest = write_films(tmp_path)
    call(command("train", "-c", settings_file(tmp_path, "run", training__epochs=1)))
    manifest.write_text(change(manifest.read_text(encoding="utf-8")), encoding="utf-8")  # type: ignore[operator]
    refused(
        call(command("train", "--resume", only_run(tmp_path, "run"), "-o", "training.epochs=2")),
        "data have changed",
        message,
    )


def test_films_that_changed_are_refused(tmp_path: Path) -> None:
    write_films(tmp_path)
    call(command("train", "-c", settings_file(tmp_path, "run", training__epochs=1)))
    film = cv2.imread(str(tmp_path / "01_CC.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(tmp_path / "01_CC.png"), film // 2)
    run = only_run(tmp_path, "run")
    for tool in (command("train", "--resume", run, "-o", "training.epochs=2"), command("eval", "--run", run)):
        refused(call(tool), "films have other pixels than when this run")
