"""Tests two-worker clusters of Dask and Ray on this machine: same arrays, scores and audit; no loss with a worker."""

import contextlib
import csv
import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.processes import ROOT, call, command, refused, settings_file, start, trained_run, wait_until
from tests.tiny import write_films

pytestmark = pytest.mark.slow
PLAIN = {"data__task": "image", "training__epochs": 1, "model__backbone": "vision:mobilenet_v3_small"}


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


class Cluster:
    """A running cluster: its address and its workers' processes."""

    def __init__(self, address: str, workers: list[subprocess.Popen]) -> None:
        self.address, self.workers = address, workers
        self.name = address.partition(":")[0]


def dask_worker(port: int, folder: Path) -> subprocess.Popen:
    line = f"-m distributed.cli.dask_worker tcp://127.0.0.1:{port} --nthreads 1 --nworkers 1 --no-dashboard".split()
    return start_quietly(*line, "--local-directory", str(folder))


def start_quietly(*line: str) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *line], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@contextlib.contextmanager
def dask_cluster(folder: Path) -> Iterator[Cluster]:
    port = free_port()
    line = f"-m distributed.cli.dask_scheduler --host 127.0.0.1 --port {port} --no-dashboard".split()
    scheduler = start_quietly(*line)
    workers = []
    try:
        assert wait_until(scheduler, lambda: accepts(port))
        workers = [dask_worker(port, folder) for _ in range(2)]
        import distributed

        with distributed.Client(f"tcp://127.0.0.1:{port}", set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
        yield Cluster(f"dask://127.0.0.1:{port}", workers)
    finally:
        for process in (*workers, scheduler):
            process.terminate()
        for process in (*workers, scheduler):
            process.wait(20)


@contextlib.contextmanager
def ray_cluster(folder: Path) -> Iterator[Cluster]:
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_TMPDIR": str(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    port = free_port()
    line = f"start --head --port {port} --num-cpus 2 --include-dashboard=false --disable-usage-stats".split()
    started = subprocess.run([*ray, *line], env=environment, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stderr
    try:
        yield Cluster("ray://auto", [])
    finally:
        subprocess.run([*ray, "stop", "--force"], env=environment, capture_output=True, check=False)


CLUSTERS = {"dask": dask_cluster, "ray": ray_cluster}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            name,
            marks=pytest.mark.skipif(
                find_spec({"dask": "distributed"}.get(name, name)) is None, reason=f"{name} is not installed"
            ),
        )
        for name in CLUSTERS
    ],
)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    # Ray's sockets are below its folder, and a socket's path may have 107 bytes at most.
    short = tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True)
    with short as folder, CLUSTERS[request.param](Path(folder)) as running:
        yield running


def arrays_of(store: Path) -> dict[str, int]:
    return {path.relative_to(store).as_posix(): zlib.crc32(path.read_bytes()) for path in store.rglob("*.npy")}


def test_a_cluster_prepares_and_audits_as_this_machine_does(films: Path, cluster: Cluster) -> None:
    for name, options in (("here", ()), ("there", ("--cluster", cluster.address))):
        config = settings_file(films, name, **PLAIN)
        store = films / f"store_{name}_{cluster.name}"
        done = call(command("prepare", "-c", config, "-o", f"data.store={store}", *options))
        assert done.returncode == 0, done.stderr
        assert "prepared: 48 views" in done.stdout
    here, there = (arrays_of(films / f"store_{name}_{cluster.name}") for name in ("here", "there"))
    assert len(here) == 48
    assert here == there
    audits = [
        call(command("audit", "-c", settings_file(films, "audit", **PLAIN), *options))
        for options in ((), ("--cluster", cluster.address))
    ]
    assert [audit.returncode for audit in audits] == [0, 0]
    tables = [[line for line in audit.stdout.splitlines() if "SHA-256" in line or "│" in line] for audit in audits]
    assert tables[0] == tables[1]


def test_a_cluster_scores_as_this_machine_does(films: Path, cluster: Cluster, tmp_path: Path) -> None:
    pytest.importorskip("paddle2onnx", reason="needs the extra export")
    run = trained_run(films, f"image_{cluster.name}", **PLAIN)
    assert call(command("export", run, "--images", "8")).returncode == 0
    others = tmp_path / "films"
    others.mkdir()
    write_films(others)
    rows = []
    for options in ((), ("--cluster", cluster.address)):
        done = call(command("predict", others, "--export", run / "export", *options))
        assert done.returncode == 0, done.stderr
        rows.append(list(csv.DictReader(io.StringIO(done.stdout))))
    assert len(rows[0]) == 48
    for first, second in zip(*rows, strict=True):
        assert first["file"] == second["file"]
        assert float(second["logit"]) == pytest.approx(float(first["logit"]), abs=1e-5)


@pytest.mark.skipif(find_spec("distributed") is None, reason="distributed is not installed")
def test_a_lost_worker_loses_nothing(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    write_films(films, patients=120)
    (tmp_path / "d").mkdir()
    with dask_cluster(tmp_path / "d") as running:
        config = settings_file(films, "lost", **PLAIN)
        process = start(
            command("prepare", "-c", config, "-o", f"data.store={films / 'store'}", "--cluster", running.address)
        )
        assert wait_until(process, lambda: len(list((films / "store").rglob("*.npy"))) > 40)
        running.workers[0].send_signal(signal.SIGKILL)
        printed, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        assert "prepared: 240 views" in printed
    assert len(arrays_of(films / "store")) == 240


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("slurm://a:1", "expected dask://HOST:PORT"),
        ("dask://", "expected dask://HOST:PORT"),
        ("dask://127.0.0.1:9", "cannot be reached"),
    ],
)
def test_a_wrong_address_is_one_line(films: Path, tmp_path: Path, address: str, words: str) -> None:
    if find_spec("distributed") is None:
        words = (
            "expected dask://HOST:PORT" if "reached" not in words else "needs the extra: pip install 'mammo[cluster]'"
        )
    config = settings_file(films, "wrong", **PLAIN)
    refused(
        call(command("prepare", "-c", config, "-o", f"data.store={tmp_path / 'store'}", "--cluster", address)), words
    )
