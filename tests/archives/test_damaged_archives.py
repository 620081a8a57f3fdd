"""Damaged and cut archives, unpacking by two processes or by one that is killed, and data sets in an archive."""

import os
import resource
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mammo.archives.unpack import RefusedError, data_root, is_archive, members_of, unpack, unpacked
from mammo.cases.cbis_ddsm import read_official_csvs
from mammo.errors import DataMissingError, WeightsError
from mammo.files import locked
from tests.archives.test_unpack import ENDINGS, ROOT, assert_refused, files_below, write_archive
from tests.processes import MOST_KIB
from tests.shared_data import SHARED, needs


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """A folder two levels down, so that what leads out of it is seen."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\3\4" + bytes(100), bytes(10240), b"\x1f\x8b\x08" + bytes(50)])
@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
def test_what_is_no_archive_is_refused(inner: Path, ending: str, content: bytes) -> None:
    (inner / f"w{ending}").write_bytes(content)
    assert_refused(inner / f"w{ending}", "is damaged, cut off or no such archive|it holds no file")


def test_an_archive_that_is_not_there_raises(inner: Path) -> None:
    assert_refused(inner / "w.zip", "cannot be unpacked to .*No such file")


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_cut_is_noticed(inner: Path, ending: str) -> None:
    content = {f"films/{number}.jpg": np.random.default_rng(number).bytes(3000) for number in range(5)}
    whole = write_archive(inner / f"w{ending}", content).read_bytes()
    end = (
        len(whole) if ending != ".tar" else 5 * 3584 + 512
    )  # past the first block of the end mark only padding is left
    for length in np.linspace(1, end - 1, 50).astype(int):
        (inner / f"w{ending}").write_bytes(whole[:length])
        assert_refused(inner / f"w{ending}", "is damaged, cut off or no such archive")


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.xz"])
def test_seeded_mutations_end_in_files_or_one_line(tmp_path: Path, ending: str) -> None:
    content = {f"films/{number}.jpg": np.random.default_rng(number).bytes(700) for number in range(4)}
    whole = write_archive(tmp_path / f"w{ending}", content).read_bytes()
    rng = np.random.default_rng(4)
    outside = {tmp_path / f"w{ending}"}
    wrong = refused = 0
    for number in range(250):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            damaged[place] = rng.integers(0, 256)
        (tmp_path / f"w{ending}").write_bytes(damaged)
        try:
            folder = unpack(tmp_path / f"w{ending}", tmp_path / f"out{number}")
            wrong += files_below(folder) != content
            outside.add(folder)
        except DataMissingError as error:
            refused += 1
            assert "\n" not in str(error)
    assert {path for path in tmp_path.iterdir() if not path.name.endswith(".lock")} == outside
    assert refused > 30
    assert wrong == 0 or ending in (".tar", ".zip")  # a plain tar has no checksum of content, a zip none of names


def test_the_second_call_finds_the_folder_and_needs_no_archive(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "w.zip", {"a": b"1"})
    before = (unpack(archive, tmp_path / "out") / "a").stat()
    archive.unlink()
    assert (unpack(archive, tmp_path / "out") / "a").stat() == before


def unpack_in_child(archive: Path, into: Path, before: str = "") -> subprocess.Popen[str]:
    start = "import sys; from pathlib import Path\nfrom mammo.archives.unpack import unpack\n"
    code = f"{start}{before}\nunpack(Path(sys.argv[1]), Path(sys.argv[2]))"
    command = [sys.executable, "-c", code, str(archive), str(into)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_after_a_killed_unpacking_the_next_is_whole(tmp_path: Path) -> None:
    content = {f"{number}.raw": np.random.default_rng(number).bytes(1 << 20) for number in range(150)}
    archive = write_archive(tmp_path / "w.zip", content)
    child = unpack_in_child(archive, tmp_path / "out")
    while not list((tmp_path / ".out.partial").glob("9*")):
        assert child.poll() is None
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "out").exists()
    assert (tmp_path / ".out.partial").exists()
    assert files_below(unpack(archive, tmp_path / "out")) == content
    assert not (tmp_path / ".out.partial").exists()


def test_two_processes_at_once_unpack_once(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "w.zip", {f"{number}": np.random.default_rng(number).bytes(1 << 20) for number in range(60)}
    )
    log = "import logging; logging.basicConfig(level=logging.INFO)"
    children = [unpack_in_child(archive, tmp_path / "out", log) for _ in range(2)]
    said = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert sum("w.zip is being unpacked by another process" in err for _, err in said) <= 1
    assert len(files_below(tmp_path / "out")) == 60


def test_a_waiting_process_says_so_and_takes_what_the_other_made(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "w.zip", {"a": b"1"})
    with locked(tmp_path / ".out.lock", doing="x"):
        child = unpack_in_child(archive, tmp_path / "out", "import logging; logging.basicConfig(level=logging.INFO)")
        assert child.stderr is not None
        assert "w.zip is being unpacked by another process" in child.stderr.readline()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "other").write_text("1")
    assert child.wait(timeout=30) == 0
    assert list(files_below(tmp_path / "out")) == ["other"]


def test_a_full_disk_is_one_line_and_nothing_is_kept(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "w.zip", {"small": b"1", "big": np.random.default_rng(0).bytes(3 << 20)})
    resource_limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    child = unpack_in_child(archive, tmp_path / "out", resource_limit)
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert f"w.zip: cannot be unpacked to {tmp_path}/out (File too large); check that" in err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.lock", "w.zip"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert len(files_below(unpack(archive, tmp_path / "out"))) == 2


def test_an_archive_is_unpacked_by_content_and_its_one_folder_entered(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "w.zip", {"top/a/x": b"1", "top/b": b"2", "__MACOSX/top/._b": b"3"})
    folder = unpacked(archive, tmp_path / "below")
    assert folder.name == "top"
    assert unpacked(archive, tmp_path / "below") == folder
    write_archive(archive, {"top/a/x": b"other"})
    assert unpacked(archive, tmp_path / "below") != folder


def test_the_error_is_the_callers(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"w\.zip: cannot be read \(No such file"):
        unpacked(tmp_path / "w.zip", tmp_path / "below", error=WeightsError)


def test_archives_are_recognised_by_their_names() -> None:
    assert all(
        is_archive(Path(f"a{ending}"))
        for ending in (".zip", ".ZIP", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
    )
    assert not any(is_archive(Path(name)) for name in ("a.pdparams", "zip", "a.gz", "a.tar.zst", "a.7z"))


@needs("cbis_ddsm_csv")
def test_a_data_set_in_one_zip_is_read_as_its_folder(tmp_path: Path) -> None:
    names = sorted((SHARED / "cbis_ddsm_csv").glob("*.csv"))
    archive = write_archive(
        tmp_path / "archive.zip", {f"csv/{path.name}": path.read_bytes() for path in names} | {"jpeg/1/1.jpg": b"1"}
    )
    root = data_root(archive, tmp_path / "store")
    assert root.parent == tmp_path / "store" / "archives"
    ours, theirs = read_official_csvs(root).frame, read_official_csvs(SHARED / "cbis_ddsm_csv").frame
    assert ours.equals(theirs)
    assert data_root(tmp_path / "folder", tmp_path / "store") == tmp_path / "folder"


def write_zip_that_lists(path: Path, members: int, *, said: int) -> Path:
    """A zip whose list names one empty file many times; its end may state another number (APPNOTE.TXT 4.3.14-16)."""
    first = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0) + b"a"
    entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    size, end = len(entry) * members, len(first) + len(entry) * members
    with path.open("wb") as file:
        file.write(first + entry * members)
        file.write(struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, said, said, size, len(first)))
        file.write(struct.pack("<IIQI", 0x07064B50, 0, end, 1))
        file.write(struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
    return path


MEASURED = (
    MOST_KIB
    + """
import sys
from pathlib import Path
from mammo.archives.unpack import unpack
from mammo.errors import DataMissingError
before = most_kib()
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
except DataMissingError as error:
    print(error)
print(most_kib() - before)
"""
)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (1_000_000, "refused: it has more than 100000 members"),
        (1_200_000, "refused: its list of members takes 56400000 bytes; expected"),
    ],
)
@pytest.mark.parametrize("lies", [False, True])
def test_a_zip_of_millions_of_members_costs_neither_time_nor_memory(
    tmp_path: Path, members: int, words: str, lies: bool
) -> None:
    archive = write_zip_that_lists(tmp_path / "w.zip", members, said=1 if lies else members)
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(archive), str(tmp_path / "out")],
        capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=120, check=True,
    )  # fmt: skip
    archive.unlink()
    said, kib = done.stdout.splitlines()
    assert said.startswith(f"{archive}: {words}")
    assert int(kib) < 150_000
    assert time.monotonic() - begin < 20


def test_a_zip_of_as_many_members_as_are_allowed_is_read(tmp_path: Path) -> None:
    archive = tmp_path / "w.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for number in range(70_000):  # more than a zip's own end can say: the larger form is needed
            file.writestr(zipfile.ZipInfo(f"CBIS-DDSM/jpeg/{'1.3.6.1.4.1.9590.100.1.2.' + '4' * 36}/{number}/"), b"")
        file.writestr("CBIS-DDSM/PK\1\2/readme.txt", b"what the list's entries begin with, in a name")
    assert sum(1 for _ in members_of(archive, 70_003)) == 70_001
    with pytest.raises(RefusedError, match="it has more than 70000 members"):
        next(members_of(archive, 70_000))
