"""Full disks, damaged checkpoints, dead workers and diverging losses: one loud line, and the last good state stays."""

import os
import resource
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from mammo.bench.soak import what_a_run_is
from mammo.model.checkpoint import last_good, read_checkpoint
from tests.processes import call, command, ended, may_mount, only_run, refused, settings_file, start, wait_until
from tests.tiny import write_films

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faults")
    write_films(folder)
    return folder


@pytest.fixture(scope="module")
def trained(films: Path) -> Path:
    done = call(command("train", "-c", settings_file(films, "trained", training__epochs=2)))
    assert done.returncode == 0, done.stderr
    return only_run(films, "trained")


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
    after_the_fault = what_a_run_is(run)
    shutil.rmtree(run)
    never_full = copied(trained, tmp_path)
    assert call(command("train", "--resume", never_full, "-o", "training.epochs=3")).returncode == 0
    assert what_a_run_is(never_full) == after_the_fault


@may_mount
def test_read_only_output_is_one_line(films: Path, trained: Path) -> None:
    line = shlex.join(command("train", "--resume", trained, "-o", "training.epochs=3"))
    folder = shlex.quote(str(trained))
    inside = f"mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && exec {line}"
    refused(call(["unshare", "-m", "sh", "-c", inside]), str(trained), "Read-only file system")


@pytest.mark.parametrize("damage", [flip, lambda path: os.truncate(path, path.stat().st_size // 2)], ids=["flipped", "cut"])
def test_damaged_last_checkpoint_falls_back_to_the_one_before(films: Path, trained: Path, tmp_path: Path, damage: object) -> None:
    run, before = copied(trained, tmp_path), what_a_run_is(trained)
    damage(run / "checkpoints" / "last" / "optimizer.safetensors")  # type: ignore[operator]
    done = call(command("train", "--resume", run))
    assert done.returncode == 0, done.stderr
    assert "last/optimizer.safetensors: does not have the SHA-256" in done.stdout
    assert "Falling back to the one before it" in done.stdout
    assert what_a_run_is(run) == before


def test_damaged_best_network_is_named_and_made_anew_or_replaced(films: Path, trained: Path, tmp_path: Path) -> None:
    run = copied(trained, tmp_path)
    flip(run / "checkpoints" / "best" / "network.safetensors")
    told = refused(call(command("eval", "--run", run)), "best/network.safetensors: does not have the SHA-256", "train.py --resume")
    assert str(run) in told
    done = call(command("train", "--resume", run))
    if done.returncode == 0:
        assert "Falling back to the best network before it" in done.stdout or "made anew from checkpoints/last" in done.stdout
        assert read_checkpoint(run / "checkpoints" / "best").tensors["network"]
    else:  # the first epoch was the best: there is none before it
        refused(done, "no whole network is left")


def children(process: int) -> list[int]:
    return [int(name) for name in Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()]


def test_killed_loader_worker_is_one_line(films: Path) -> None:
    process = start(command("train", "-c", settings_file(films, "worker", training__workers=2, training__epochs=40)))
    assert wait_until(process, lambda: any((films / "worker" / "worker").glob("2*/checkpoints/last")))
    assert wait_until(process, lambda: len(children(process.pid)) >= 2)
    os.kill(children(process.pid)[0], signal.SIGKILL)
    refused(ended(process), "loading images: a worker process ended", "training.workers=0")


@may_mount
@pytest.mark.parametrize(("size", "told"), [("64k", "no worker can start"), ("1200k", "a worker process ended")])
def test_full_shared_memory_is_one_line(films: Path, size: str, told: str) -> None:
    config = settings_file(films, f"shm{size}", training__workers=2, data__image_size=[192, 192], training__batch_size=16)
    inside = f"mount -t tmpfs -o size={size} tmpfs /dev/shm && exec {shlex.join(command('train', '-c', config))}"
    done = call(["unshare", "-m", "sh", "-c", inside])
    assert done.returncode == 2
    assert done.stderr.count("mammo: error: ") == 1  # after paddle's own words, which end in no new line
    assert f"mammo: error: loading images: {told}" in done.stderr
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


def test_damaged_prepared_image_is_told_from_a_worker(tmp_path: Path) -> None:
    write_films(tmp_path)
    config = settings_file(tmp_path, "damage", training__workers=2, training__epochs=60)
    process = start(command("train", "-c", config))
    assert wait_until(process, lambda: any((tmp_path / "damage" / "damage").glob("2*/checkpoints/last")))
    for array in (tmp_path / "store").rglob("*.npy"):
        flip(array)
    refused(ended(process), ".npy: ", "run the command again")
    assert call(command("train", "--resume", only_run(tmp_path, "damage"), "-o", "training.epochs=1")).returncode == 0
