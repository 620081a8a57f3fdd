"""Downloading, against a real server on this machine that can cut, be slow, refuse ranges and answer 404."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mammo.errors import WeightsError
from mammo.model.download import TRIES, default_cache, fetch
from tests.model.weight_server import CONTENT, SHA256, left_in, serving

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


def fetch_in_child(url, cache, before=""):
    start = "import sys; from pathlib import Path\nfrom mammo.model.download import fetch\n"
    code = f"{start}{before}\nprint(fetch(sys.argv[1], cache=Path(sys.argv[2])))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, url, str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_file_is_fetched_once(server, tmp_path):
    path = fetch(server.url, cache=tmp_path / "new", sha256=SHA256)
    assert path == tmp_path / "new" / "w.pdparams"
    assert path.read_bytes() == CONTENT
    assert fetch(server.url, cache=tmp_path / "new", sha256=SHA256) == path
    assert server.asked == [None]
    assert left_in(path.parent) == ["w.pdparams"]


def test_a_query_is_no_part_of_the_name(server, tmp_path):
    assert fetch(server.url + "?token=1", cache=tmp_path).name == "w.pdparams"


def test_a_cut_connection_continues_where_it_stopped(server, tmp_path):
    server.cuts = 1
    assert fetch(server.url, cache=tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1200000-"]


def test_a_later_call_continues_the_part_of_an_earlier_one(server, tmp_path):
    (tmp_path / "w.pdparams.part").write_bytes(CONTENT[:2_000_000])
    assert fetch(server.url, cache=tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == ["bytes=2000000-"]


def test_a_whole_part_only_needs_its_name(server, tmp_path):
    (tmp_path / "w.pdparams.part").write_bytes(CONTENT)
    assert fetch(server.url, cache=tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_fetched_anew(server, tmp_path):
    (tmp_path / "w.pdparams.part").write_bytes(CONTENT + b"more")
    assert fetch(server.url, cache=tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_server_without_ranges_sends_the_whole_file_again(server, tmp_path):
    server.ranges, server.cuts = False, 1
    assert fetch(server.url, cache=tmp_path, sha256=SHA256).read_bytes() == CONTENT


def test_a_connection_cut_every_time_keeps_the_part_and_says_so(server, tmp_path):
    server.ranges, server.cuts = False, TRIES
    with pytest.raises(
        WeightsError, match=rf"cut {TRIES} times; what came is kept, run again .* put it at {tmp_path}/w\.pdparams"
    ):
        fetch(server.url, cache=tmp_path)
    assert (tmp_path / "w.pdparams.part").stat().st_size == 1_200_000
    assert not (tmp_path / "w.pdparams").exists()


def test_a_wrong_hash_raises_and_nothing_is_kept(server, tmp_path):
    with pytest.raises(WeightsError, match=f"expected SHA-256 {'0' * 64}, got {SHA256}"):
        fetch(server.url, cache=tmp_path, sha256="0" * 64)
    assert left_in(tmp_path) == []


def test_a_wrong_hash_of_a_file_in_the_cache_raises_and_keeps_it(server, tmp_path):
    (tmp_path / "w.pdparams").write_bytes(b"put here by hand")
    with pytest.raises(WeightsError, match="remove it, or correct the hash"):
        fetch(server.url, cache=tmp_path, sha256=SHA256)
    assert (tmp_path / "w.pdparams").exists()
    assert server.asked == []


def test_404_names_address_and_place(server, tmp_path):
    url = server.url.replace("w.pdparams", "none.pdparams")
    with pytest.raises(
        WeightsError,
        match=rf"{url}: cannot be downloaded \(the server answered 404 .*put it at {tmp_path}/none\.pdparams",
    ):
        fetch(url, cache=tmp_path)


def test_no_connection_names_address_and_place_in_one_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(
        WeightsError, match=rf"{server.url}: cannot be downloaded .*refused.*put it at {tmp_path}/w\.pdparams"
    ) as caught:
        fetch(server.url, cache=tmp_path)
    assert "\n" not in str(caught.value)


def test_a_cache_that_is_a_file_is_one_line(server, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(WeightsError, match="cannot be downloaded"):
        fetch(server.url, cache=tmp_path / "cache")


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("MAMMO_CACHE", str(tmp_path))
    assert default_cache() == tmp_path
    monkeypatch.delenv("MAMMO_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache() == tmp_path / ".cache" / "mammo" / "weights"


@pytest.mark.skipif(not hasattr(os, "setuid") or os.getuid() != 0, reason="only root can become a user without a name")
def test_a_user_without_a_home_reads_of_the_variable():
    code = "import os, pwd, mammo.model.download as it; os.setuid(54321)"
    code += "; del os.environ['HOME']; print(it.default_cache())"
    environment = {key: value for key, value in os.environ.items() if key != "MAMMO_CACHE"} | {
        "PYTHONPATH": str(ROOT),
        "HOME": "/",
    }
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    message = (
        "WeightsError: this user has no home folder to keep weights in; set MAMMO_CACHE to a folder for them, or HOME"
    )
    assert done.stderr.splitlines()[-1].endswith(message)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment | {"MAMMO_CACHE": "c"}, check=True
    )
    assert done.stdout == "c\n"


def test_two_processes_that_want_the_same_file_fetch_it_once(server, tmp_path):
    server.delay_s = 0.1
    log = "import logging; logging.basicConfig(level=logging.INFO)"
    first = fetch_in_child(server.url, tmp_path, log)
    while not (tmp_path / "w.pdparams.part").exists():
        time.sleep(0.01)
    second = fetch_in_child(server.url, tmp_path, log)
    said = [child.communicate(timeout=60) for child in (first, second)]
    assert [out.strip() for out, _ in said] == [str(tmp_path / "w.pdparams")] * 2
    assert "by another process" not in said[0][1]
    assert f"{tmp_path}/w.pdparams: is being downloaded by another process ({first.pid} on " in said[1][1]
    assert server.asked == [None]
    assert (tmp_path / "w.pdparams").read_bytes() == CONTENT
    assert left_in(tmp_path) == ["w.pdparams"]


def test_the_part_of_a_killed_process_is_continued(server, tmp_path):
    server.delay_s = 0.1
    child = fetch_in_child(server.url, tmp_path)
    part = tmp_path / "w.pdparams.part"
    while not (part.exists() and part.stat().st_size > 1_000_000):
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    server.delay_s = 0
    assert fetch(server.url, cache=tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1048576-"]


def test_a_full_disk_is_one_line_and_what_came_is_kept(server, tmp_path):
    child = fetch_in_child(
        server.url, tmp_path, "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))"
    )
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    full = r"\(the disk is full; free space and run again, what came is kept\)"
    message = rf"WeightsError: {server.url}: cannot be downloaded {full}"
    assert re.search(message, err.splitlines()[-1])
    assert (tmp_path / "w.pdparams.part").read_bytes() == CONTENT[:1_500_000]
    assert fetch(server.url, cache=tmp_path, sha256=SHA256).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1500000-"]
