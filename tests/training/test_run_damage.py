"""Run folders that were edited, cut, moved or emptied are refused by name or repaired, never mixed with others."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest

from mammo.runs import network_sha256, run_fingerprint
from tests.images.workers import is_alive
from tests.processes import (
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
from tests.tiny import write_films

pytestmark = pytest.mark.slow
PLAIN = {"model__backbone": "ResNet18_vd", "training__epochs": 2}
BOX = ("--box", "27,27,16,16")


@pytest.fixture(scope="module")
def trained(films: Path) -> Path:
    return trained_run(films, "trained", **PLAIN)


@pytest.fixture(scope="module")
def other(films: Path) -> Path:
    return trained_run(films, "other", seed=1, **PLAIN)


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def more(run: Path, epochs: int = 3) -> list[str]:
    return command("train", "--resume", run, "-o", f"training.epochs={epochs}")


def test_decision_of_another_network_calls_nothing(films: Path, run: Path, other: Path) -> None:
    shutil.rmtree(run / "checkpoints" / "best")
    shutil.copytree(other / "checkpoints" / "best", run / "checkpoints" / "best")
    for tool in (command("predict", films / "00_CC.png", *BOX, "--run", run), command("eval", "--run", run)):
        refused(call(tool), "decision.json: was made with another network", f"mammo train --resume {run}")


def test_killed_after_a_new_best_the_old_decision_calls_nothing(films: Path, run: Path) -> None:
    before = network_sha256(run)
    process = start(more(run, 8))
    if wait_until(process, lambda: network_sha256(run) not in ("", before)):
        process.kill()
        ended(process)
        refused(
            call(command("predict", films / "00_CC.png", *BOX, "--run", run)),
            "decision.json: was made with another network",
        )
        assert call(more(run, 2)).returncode == 0
    assert call(command("predict", films / "00_CC.png", *BOX, "--run", run)).returncode == 0


def test_missing_environment_lets_no_other_labels_in(films: Path, trained: Path, run: Path, tmp_path: Path) -> None:
    (run / "environment.json").unlink()
    manifest = films / "manifest.csv"
    text = manifest.read_text(encoding="utf-8")
    try:
        manifest.write_text(text.replace("L02CC,mass,0", "L02CC,mass,1"), encoding="utf-8")
        refused(call(more(run)), "data have changed", "1 cases of another label (L02CC)")
    finally:
        manifest.write_text(text, encoding="utf-8")
    assert call(more(run, 2)).returncode == 0
    assert json.loads((run / "environment.json").read_text(encoding="utf-8"))["split_sha256"]
    assert run_fingerprint(run) == run_fingerprint(trained)


def test_settings_edited_after_training_are_reported(films: Path, run: Path) -> None:
    config = run / "config.yaml"
    text = config.read_text(encoding="utf-8")
    assert text.count("context: 2.0") == 1
    config.write_text(text.replace("context: 2.0", "context: 3.5"), encoding="utf-8")
    for tool in (command("predict", films / "00_CC.png", *BOX, "--run", run), command("eval", "--run", run)):
        refused(call(tool), "config.yaml: was changed after training: data.context was 2.0, is now 3.5; set it back")


def test_cut_list_of_cases_cannot_hide_patients(films: Path, run: Path, tmp_path: Path) -> None:
    split = run / "split.csv"
    split.write_text("\n".join(split.read_text(encoding="utf-8").splitlines()[:4]) + "\n", encoding="utf-8")
    judged = command("eval", "--run", run, "--data", films / "manifest.csv", "--out", tmp_path / "out")
    refused(call(judged), "split.csv: is not as this run wrote it")


def test_cut_score_tables_are_not_compared(trained: Path, other: Path, tmp_path: Path) -> None:
    copies = [shutil.copytree(one, tmp_path / name) for name, one in (("a", trained), ("b", other))]
    for copy in copies:
        table = pd.read_csv(copy / "scores_test.csv")
        table.iloc[:2].to_csv(copy / "scores_test.csv", index=False)
    refused(
        call(command("compare", *copies, "--out", tmp_path / "out")), "scores_test.csv: has 2 cases that are not the"
    )
    refused(
        call(command("eval", "--ensemble", *copies, "--out", tmp_path / "all")),
        "scores_test.csv: has 2 cases that are not the",
    )


def begin(films: Path, name: str) -> tuple[object, Path]:
    process = start(command("train", "-c", settings_file(films, name, **PLAIN | {"training__epochs": 400})))
    assert wait_until(process, lambda: any((films / name / name).glob("2*/checkpoints/last")))
    return process, only_run(films, name)


def test_removed_lock_stops_the_run(films: Path) -> None:
    process, run = begin(films, "unlocked")
    (run / ".lock").unlink()
    refused(ended(process), str(run / ".lock"), "was removed or moved, and another process may write there")  # type: ignore[arg-type]


def test_moved_run_stops_and_leaves_nothing_behind(films: Path) -> None:
    process, run = begin(films, "moved")
    moved = run.rename(run.with_name("elsewhere"))
    refused(ended(process), "was removed or moved, and another process may write there")  # type: ignore[arg-type]
    assert not (run / "checkpoints").exists()
    assert (moved / "checkpoints" / "last" / "state.json").is_file()


def test_finished_run_without_its_checkpoints_is_not_started_again(run: Path) -> None:
    before = (run / "log.jsonl").read_bytes()
    for name in ("last", ".last.previous"):
        shutil.rmtree(run / "checkpoints" / name)
    refused(call(more(run)), "checkpoints/last: is missing, so the run cannot go on after its 2 epochs")
    assert (run / "log.jsonl").read_bytes() == before


def test_torn_log_keeps_its_whole_lines(run: Path) -> None:
    log = run / "log.jsonl"
    os.truncate(log, log.stat().st_size - 30)
    done = call(more(run))
    assert done.returncode == 0, done.stderr
    assert "log.jsonl: is shorter than when the checkpoint was saved" in done.stdout
    assert [json.loads(line)["epoch"] for line in log.read_text(encoding="utf-8").splitlines()] == [1, 3]


def test_manifests_of_one_name_do_not_overwrite_each_other(run: Path, films: Path, tmp_path: Path) -> None:
    manifests = []
    for name in ("a", "b"):
        (tmp_path / name / "x").mkdir(parents=True)
        manifests.append(shutil.move(write_films(tmp_path / name / "x", patients=6), tmp_path / name / "x" / "t.csv"))
    assert call(command("eval", "--run", run, "--data", manifests[0])).returncode == 0
    refused(
        call(command("eval", "--run", run, "--data", manifests[1])),
        "x_t: holds the judgement of another manifest",
        "--out",
    )
    assert call(command("eval", "--run", run, "--data", manifests[0])).returncode == 0


def test_second_signal_ends_a_run_whose_loader_does_not_answer(films: Path) -> None:
    """A stopped worker replaces one that waits for a network disk."""
    name = "stopped"
    process = start(
        command("train", "-c", settings_file(films, name, **PLAIN | {"training__epochs": 400, "training__workers": 1}))
    )
    assert wait_until(process, lambda: any((films / name / name).glob("2*/checkpoints/last")))
    assert wait_until(process, lambda: bool(children(process.pid)))
    workers = children(process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    time.sleep(2)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
    begun = time.monotonic()
    try:
        process.wait(60)
        took = time.monotonic() - begun
    finally:
        left = [worker for worker in workers if is_alive(worker)]
        for worker in left:
            os.kill(worker, signal.SIGKILL)
    done = ended(process)
    assert left == []
    assert took < 30
    assert done.returncode == 130
    assert done.stderr.count("mammo: error: stopped by the keyboard") == 1


@pytest.mark.parametrize("tool", ["train", "eval"])
@pytest.mark.parametrize("after_s", [0.0, 0.7, 1.5])
def test_termination_once_paddle_is_loaded_is_one_line(films: Path, run: Path, tool: str, after_s: float) -> None:
    line = command("eval", "--run", run) if tool == "eval" else more(run, 400)
    process = start(line)
    assert process.stdout is not None
    assert process.stdout.readline().startswith(
        "device "
    )  # printed once paddle is loaded; before, paddle may print an error of its own
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        process.terminate()
    done = ended(process)
    assert done.returncode in (0, 143)
    assert "Traceback" not in done.stderr
    assert len([text for text in done.stderr.splitlines() if text.startswith("mammo: error: ")]) == (
        done.returncode == 143
    )
