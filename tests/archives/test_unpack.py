"""Archives: plain ones are unpacked whole and once; hostile and damaged ones are refused, and nothing is written."""

import io
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo.archives.unpack import LIMITS, SPECIAL, Limits, unpack
from mammo.errors import DataMissingError

ROOT = Path(__file__).resolve().parents[2]
TARS = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
ENDINGS = [".zip", *TARS]


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                info = zipfile.ZipInfo("x")
                info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
                archive.writestr(info, content)
        return path
    ending = next(ending for ending in TARS if path.name.endswith(ending))
    with tarfile.open(path, TARS[ending]) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_tar_of(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for info in members:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_refused(archive: Path, words: str, limits: Limits = LIMITS) -> None:
    """One line, and nothing beside the archive but the lock file."""
    around = {path for path in archive.parent.parent.rglob("*") if not path.name.endswith(".lock")}
    with pytest.raises(DataMissingError, match=words) as caught:
        unpack(archive, archive.parent / "out" / "folder", limits=limits)
    assert str(archive) in str(caught.value)
    assert "\n" not in str(caught.value)
    after = {path for path in archive.parent.parent.rglob("*") if not path.name.endswith(".lock")}
    assert after - around <= {archive.parent / "out"}


@pytest.fixture
def inner(tmp_path: Path) -> Path:
    """A folder two levels down, so that what leads out of it is seen."""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_kind_is_unpacked_unchanged(tmp_path: Path, ending: str) -> None:
    nested = write_archive(tmp_path / "nested.zip", {"../x": b"1"}).read_bytes()
    content = {
        "./csv/a.csv": b"1,2\r\n",
        "jpeg/乳腺 1.jpg": bytes(range(256)) * 9000,
        "empty": b"",
        "nested.zip": nested,
    }
    folder = unpack(write_archive(tmp_path / f"films{ending}", content), tmp_path / "out")
    assert folder == tmp_path / "out"
    assert files_below(folder) == {name.removeprefix("./"): data for name, data in content.items()}
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".partial")]


def test_files_come_without_the_rights_that_an_archive_gives(tmp_path: Path) -> None:
    info = tarfile.TarInfo("run.sh")
    info.mode, info.uid = 0o6777, 4321
    path = unpack(write_tar_of(tmp_path / "w.tar", info), tmp_path / "out") / "run.sh"
    assert path.stat().st_mode & 0o7111 == 0
    assert path.stat().st_uid == os.getuid()


def test_plain_python_does_write_outside(inner: Path) -> None:
    archive = write_archive(inner / "slip.tar", {"../../slipped": b"1"})
    with tarfile.open(archive) as file:
        file.extraction_filter = staticmethod(tarfile.fully_trusted_filter)
        file.extractall(inner)
    assert (inner.parent.parent / "slipped").exists()


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize(
    "name",
    [
        "/slipped", "../slipped", "a/../../slipped", "..", "a/..", "C:/slipped", "C:slipped", "a/D:b", "..\\slipped",
        "a\\..\\b", "\\\\host\\share", ".. /slipped", "a/.../b", " ", "new\nline", "tab\t", "a" * 300, "a/" * 600 + "b",
    ],
)  # fmt: skip
def test_a_name_that_leads_out_is_refused(inner: Path, ending: str, name: str) -> None:
    archive = write_archive(inner / f"slip{ending}", {"good": b"1", name: b"2"})
    assert_refused(archive, r"slip\S+: refused: member .* has (an absolute name|a name)")


def test_a_name_cut_by_a_nul_byte_is_refused(inner: Path) -> None:
    archive = write_archive(inner / "w.zip", {"goodX.exe": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"goodX.exe", b"good\0.exe"))
    assert_refused(archive, r"refused: member 'good\\x00\.exe' has .* control character")


@pytest.mark.parametrize(
    ("member", "kind"),
    [
        (special("link", tarfile.SYMTYPE, "/etc"), SPECIAL),
        (special("link", tarfile.SYMTYPE, "good"), SPECIAL),
        (special("link", tarfile.LNKTYPE, "good"), SPECIAL),
        (special("device", tarfile.CHRTYPE), SPECIAL),
        (special("device", tarfile.BLKTYPE), SPECIAL),
        (special("pipe", tarfile.FIFOTYPE), SPECIAL),
        (special("odd", b"Z"), SPECIAL),
    ],
)
def test_what_is_neither_file_nor_folder_is_refused(inner: Path, member: tarfile.TarInfo, kind: str) -> None:
    archive = write_tar_of(inner / "w.tar", tarfile.TarInfo("good"), member, tarfile.TarInfo("link/passwd"))
    assert_refused(archive, f"member '{member.name}' is {kind}")


def test_a_sparse_member_is_refused(inner: Path) -> None:
    info = tarfile.TarInfo("hole")
    info.pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "hole",
        "GNU.sparse.realsize": "999999999999",
    }
    info.size = 512
    path = inner / "w.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"1\n0\n0\n".ljust(512, b"\0")))
    assert_refused(path, SPECIAL)


@pytest.mark.parametrize(("mode", "kind"), [(0o120777, SPECIAL), (0o010644, SPECIAL), (0o060644, SPECIAL)])
def test_a_zip_with_a_link_is_refused(inner: Path, mode: int, kind: str) -> None:
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, mode << 16
    with zipfile.ZipFile(inner / "w.zip", "w") as archive:
        archive.writestr(info, "/etc")
    assert_refused(inner / "w.zip", f"member 'link' is {kind}")


def test_an_encrypted_member_is_refused(inner: Path) -> None:
    archive = write_archive(inner / "w.zip", {"secret": b"1"})
    content = bytearray(archive.read_bytes())
    content[6] |= 1  # flags of the local header, APPNOTE.TXT 4.3.7
    content[content.index(b"PK\1\2") + 8] |= 1  # and of the central directory, 4.3.12
    archive.write_bytes(content)
    assert_refused(archive, "member 'secret' is encrypted")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("ending", [".zip", ".tar"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("a", "./a"),
        ("a", "b/../a"),
        ("Film.jpg", "film.JPG"),
        ("caf\u00e9", "cafe\u0301"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a/b", "A"),
    ],
)
def test_two_members_of_one_name_are_refused(inner: Path, ending: str, first: str, second: str) -> None:
    archive = inner / f"w{ending}"
    if ending == ".zip":
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr(first, b"1")
            file.writestr(second, b"2")
    else:
        write_tar_of(archive, tarfile.TarInfo(first), tarfile.TarInfo(second))
    assert_refused(archive, "has the name, or the place, of another before it|leads out of its folder")


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_a_bomb_is_refused_before_it_is_unpacked(inner: Path, ending: str) -> None:
    archive = write_archive(inner / f"bomb{ending}", {f"zeros{number}": bytes(100 << 20) for number in range(3)})
    assert archive.stat().st_size < 1 << 20
    assert_refused(archive, r"more than 100 times its own \d+ bytes \(a decompression bomb\)")


def test_a_zip_that_says_less_than_it_holds_is_refused(inner: Path) -> None:
    archive = write_archive(inner / "w.zip", {"zeros": bytes(50 << 20)})
    content = archive.read_bytes().replace(struct.pack("<I", 50 << 20), struct.pack("<I", 10))
    archive.write_bytes(content)
    assert_refused(archive, "is damaged, cut off or no such archive .*CRC")


def test_a_zip_that_says_more_than_it_holds_is_refused(inner: Path) -> None:
    archive = write_archive(inner / "w.zip", {"zeros": bytes(5 << 20)})
    content = archive.read_bytes().replace(struct.pack("<I", 5 << 20), struct.pack("<I", 6 << 20))
    archive.write_bytes(content)
    assert_refused(archive, "w.zip: ")


def test_a_header_of_a_tar_that_would_fill_the_memory_is_refused(inner: Path) -> None:
    info = tarfile.TarInfo("good")
    info.pax_headers = {"comment": "x" * (200 << 20)}
    with tarfile.open(inner / "w.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    assert_refused(inner / "w.tar.gz", r"more than \d+ bytes stand between its members")


def test_an_xz_file_that_asks_for_too_much_memory_is_refused(inner: Path) -> None:
    plain = write_archive(inner / "w.tar", {"good": b"1"}).read_bytes()
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 300 << 20, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC3}]
    (inner / "w.tar.xz").write_bytes(lzma.compress(plain, filters=filters))
    assert_refused(inner / "w.tar.xz", "Memory usage limit")


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(most_members=2), "more than 2 members"),
        (Limits(most_bytes_each=999), "takes 1000 bytes, more than 999"),
        (Limits(most_bytes=2999), "more than 2999 bytes"),
    ],
)
def test_each_limit_is_kept(inner: Path, ending: str, limits: Limits, words: str) -> None:
    archive = write_archive(inner / f"w{ending}", {name: bytes(1000) for name in "abc"})
    assert_refused(archive, words, limits)
    exact = Limits(most_members=3, most_bytes_each=1000, most_bytes=3000)
    assert len(files_below(unpack(archive, inner / "fits", limits=exact))) == 3


def test_masks_and_films_of_ten_thousand_files_are_accepted(tmp_path: Path) -> None:
    mask = np.zeros((4000, 3000), np.uint8)
    cv2.circle(mask, (1500, 2000), 200, 255, -1)
    jpeg = cv2.imencode(".jpg", mask)[1].tobytes()
    archive = write_archive(tmp_path / "films.zip", {f"jpeg/{number}/1.jpg": jpeg for number in range(1000)})
    with zipfile.ZipFile(archive, "a") as file:
        for number in range(9000):
            file.writestr(f"jpeg/{number}/2.txt", b"1")
    folder = unpack(archive, tmp_path / "out")
    assert sum(1 for path in folder.rglob("*") if path.is_file()) == 10_000


def test_too_little_disk_space_is_reported_before_anything_is_written(inner: Path) -> None:
    count = shutil.disk_usage(inner).free // 4_000_000_000 + 1
    archive = write_archive(inner / "w.zip", {f"f{number}": b"x" * 777 for number in range(count)})
    archive.write_bytes(archive.read_bytes().replace(struct.pack("<I", 777), struct.pack("<I", 4_000_000_000)))
    assert_refused(
        archive, r"its files take \d+ bytes, and .* has \d+ free", Limits(most_bytes=1 << 60, most_ratio=1 << 60)
    )
