"""Full disks, damaged checkpoints, dead workers and diverging losses: one line, and the last good state is kept."""

import os
import resource
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from mammo.model.checkpoint import last_good, read_checkpoint
from mammo.runs import run_fingerprint
from tests.processes import (
    call,
    children,
    command,
    ended,
    may_mount,
    only_run,
    refused,
    settings_file,
    start,
    trained_run,
    wait_until,
)
from tests.tiny import write_films

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(films: Path) -> Path:
    return trained_run(films, "trained", training__epochs=2)


def copied(trained: Path, folder: Path) -> Path:
    return shutil.copytree(trained, folder / trained.name)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def no_file_over_100_kb() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_full_disk_is_one_line_and_the_last_good_checkpoint_goes_on(films: Path, trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path)
    more = command("train", "--resume", run, "-o", "training.epochs=3")
    refused(call(more, preexec_fn=no_file_over_100_kb), "checkpoint cannot be written (", "the one before it is whole")
    assert last_good(run / "checkpoints" / "last").state["epoch"] == 2
    assert not list((run / "checkpoints").glob(".*.new"))
    assert call(more).returncode == 0
    after_the_fault = run_fingerprint(run)
    shutil.rmtree(run)
    never_full = copied(trained, tmp_path)
    assert call(command("train", "--resume", never_full, "-o", "training.epochs=3")).returncode == 0
    assert run_fingerprint(never_full) == after_the_fault


@may_mount
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 1.2])
def test_full_small_disk_keeps_what_was_saved(films: Path, trained: Path, tmp_path: Path, share: float) -> None:
    """The disk has such a share of what the run needs; what is on it then goes on elsewhere, to the same end."""
    disk, kept = films / "small", tmp_path / "small"
    disk.mkdir(exist_ok=True)
    size = int(share * sum(file.stat().st_blocks * 512 for file in trained.rglob("*")))
    train = command("train", "-c", settings_file(films, "small", training__epochs=2))
    inside = (
        f"mount -t tmpfs -o size={size} tmpfs {disk}; {shlex.join(train)}; code=$?; cp -a {disk} {kept}; exit $code"
    )
    message = refused(
        call(["unshare", "-m", "sh", "-c", inside]), "the checkpoint cannot be written (", "No space left on device"
    )
    run = only_run(tmp_path, "small")
    assert not list((run / "checkpoints").glob(".*.new"))
    if share < 0.1:
        assert "nothing was saved yet" in message
        assert not (run / "checkpoints" / "last").exists()
    else:
        assert "the one before it is whole" in message
        assert last_good(run / "checkpoints" / "last").state["step"] > 0
    assert call(command("train", "--resume", run)).returncode == 0
    assert run_fingerprint(run) == run_fingerprint(trained)


@may_mount
@pytest.mark.parametrize("left_kb", [0, 40, 300])
def test_disk_full_in_the_judgement_costs_no_score(films: Path, trained: Path, tmp_path: Path, left_kb: int) -> None:
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    run = disk / trained.name
    steps = (
        f"mount -t tmpfs -o size=200m tmpfs {disk} && cp -a {trained} {disk} && rm -r {run}/report {run}/scores_*",
        f"head -c {left_kb * 1024} /dev/zero > {disk}/left; cat /dev/zero > {disk}/full 2> /dev/null; rm {disk}/left",
        f"{shlex.join(command('train', '--resume', run))}; code=$?; cp -a {run} {kept}; exit $code",
    )
    refused(call(["unshare", "-m", "sh", "-c", "; ".join(steps)]), str(run), "No space left on device")
    assert call(command("train", "--resume", kept)).returncode == 0
    assert run_fingerprint(kept) == run_fingerprint(trained)
    assert (kept / "report" / "index.html").is_file()


@may_mount
def test_read_only_output_is_one_line(films: Path, trained: Path) -> None:
    line = shlex.join(command("train", "--resume", trained, "-o", "training.epochs=3"))
    folder = shlex.quote(str(trained))
    inside = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && exec {line}"
    refused(call(["unshare", "-m", "sh", "-c", inside]), str(trained), "Read-only file system")


@pytest.mark.parametrize(
    "damage", [flip, lambda path: os.truncate(path, path.stat().st_size // 2)], ids=["flipped", "cut"]
)
def test_damaged_last_checkpoint_falls_back_to_the_one_before(
    films: Path, trained: Path, tmp_path: Path, damage: object
) -> None:
    run, before = copied(trained, tmp_path), run_fingerprint(trained)
    damage(run / "checkpoints" / "last" / "optimizer.safetensors")  # type: ignore[operator]
    done = call(command("train", "--resume", run))
    assert done.returncode == 0, done.stderr
    assert "last/optimizer.safetensors: does not have the SHA-256" in done.stdout
    assert "Falling back to the one beside it, of step " in done.stdout
    assert run_fingerprint(run) == before


def test_damaged_best_network_is_named_and_made_again_or_replaced(films: Path, trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path)
    flip(run / "checkpoints" / "best" / "network.safetensors")
    message = refused(
        call(command("eval", "--run", run)),
        "best/network.safetensors: does not have the SHA-256",
        "mammo train --resume",
    )
    assert str(run) in message
    done = call(command("train", "--resume", run))
    assert done.returncode == 0, done.stderr
    outcomes = (
        "Falling back to the best network before it",
        "made again from checkpoints/last",
        "No best network is left: the latest",
    )
    assert sum(words in done.stdout for words in outcomes) == 1
    assert read_checkpoint(run / "checkpoints" / "best").tensors["network"]


def test_run_whose_best_networks_are_all_damaged_goes_on(films: Path, trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path)
    state = last_good(run / "checkpoints" / "last").state
    for name in ("best", ".best.previous"):
        if (run / "checkpoints" / name).exists():
            flip(run / "checkpoints" / name / "network.safetensors")
    done = call(command("train", "--resume", run, "-o", "training.epochs=3"))
    assert done.returncode == 0, done.stderr
    was_best = state["keepers"]["stopping"]["best_epoch"] + 1 == state["epoch"]
    assert (
        "made again from checkpoints/last" if was_best else "No best network is left: the latest, of epoch 2"
    ) in done.stdout
    best = read_checkpoint(run / "checkpoints" / "best").state
    assert best["epoch"] >= state["epoch"]
    assert best["metrics"]["validation/auc"] >= state["keepers"]["stopping"]["latest"]


def test_killed_loader_worker_is_one_line(films: Path) -> None:
    process = start(command("train", "-c", settings_file(films, "worker", training__workers=2, training__epochs=40)))
    assert wait_until(process, lambda: any((films / "worker" / "worker").glob("2*/checkpoints/last")))
    assert wait_until(process, lambda: len(children(process.pid)) >= 2)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    refused(ended(process), "loading images: a worker process ended", "training.workers=0")


@may_mount
@pytest.mark.parametrize(("size", "message"), [("64k", "no worker can start"), ("1200k", "a worker process ended")])
def test_full_shared_memory_is_one_line(films: Path, size: str, message: str) -> None:
    config = settings_file(
        films, f"shm{size}", training__workers=2, data__image_size=[192, 192], training__batch_size=16
    )
    inside = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && exec {shlex.join(command('train', '-c', config))}"
    done = call(["unshare", "-m", "sh", "-c", inside])
    assert done.returncode == 2
    assert done.stderr.count("mammo: error: ") == 1  # after a message of paddle, which ends without a new line
    assert f"mammo: error: loading images: {message}" in done.stderr
    assert "--shm-size" in done.stderr


@pytest.mark.parametrize("threads", ["1", "2"])
def test_divergence_stops_and_keeps_the_best(films: Path, threads: str) -> None:
    name = f"diverging{threads}"
    config = settings_file(
        films,
        name,
        training__schedule={"name": "constant", "warmup_epochs": 0},
        training__freeze={"until_epoch": [1]},
        training__stage_lr_factors=[1e25],
        training__optimizer={"name": "momentum", "learning_rate": 1e-3},
    )
    done = call(command("train", "-c", config), environment={"OMP_NUM_THREADS": threads})
    refused(done, "epoch 2, step ", "training.optimizer.learning_rate")
    assert read_checkpoint(only_run(films, name) / "checkpoints" / "best").state["epoch"] == 1


def test_damaged_prepared_image_is_reported_from_a_worker(tmp_path: Path) -> None:
    write_films(tmp_path)
    config = settings_file(tmp_path, "damage", training__workers=2, training__epochs=60)
    process = start(command("train", "-c", config))
    assert wait_until(process, lambda: any((tmp_path / "damage" / "damage").glob("2*/checkpoints/last")))
    for array in (tmp_path / "store").rglob("*.npy"):
        flip(array)
    refused(ended(process), ".npy: ", "`mammo prepare` with the same settings makes it again")
    assert call(command("train", "--resume", only_run(tmp_path, "damage"), "-o", "training.epochs=1")).returncode == 0
