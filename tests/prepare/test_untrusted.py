"""Tests untrusted films: the same store as from trusted ones, no crash by a hostile header, no header text printed."""

import logging
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom.uid as uids
import pytest

from mammo.cases.cbis_ddsm import read_official_csvs
from mammo.errors import DataMissingError, ImageError
from mammo.images.preprocess import PreprocessSettings
from mammo.images.sandbox.decode import end_processes, read_untrusted_film
from mammo.phantom.draw import write_phantom
from mammo.prepare.gather import gather_split, prepare_samples, prepare_split
from mammo.prepare.locate import index_series, locate_files
from mammo.prepare.store import Store
from mammo.settings.schema import DataSettings, PhantomSettings
from tests.images.dicom_files import film_dataset, ramp, saved
from tests.images.lossless_twins import write_twins
from tests.images.workers import on_linux, workers_of
from tests.tiny import film, tiny_settings, write_films

ROOT = Path(__file__).resolve().parents[2]
pytestmark = on_linux


@pytest.fixture(autouse=True)
def shut() -> Iterator[None]:
    end_processes()
    yield
    end_processes()


def test_store_key_depends_on_what_changes_pixels_and_not_on_trust(tmp_path: Path) -> None:
    folders = {
        name: Store(tmp_path, PreprocessSettings.from_data(DataSettings(**changes))).folder
        for name, changes in {"plain": {}, "untrusted": {"untrusted": True}, "other task": {"task": "image"}}.items()
    }
    assert folders["untrusted"] == folders["plain"] != folders["other task"]


def test_untrusted_films_give_the_same_store_as_trusted_ones(tmp_path: Path) -> None:
    """Masks, films and headers are read in the sandbox: a phantom in folders without UIDs needs all three."""
    root = write_phantom(tmp_path / "data", PhantomSettings(patients=8, film_size=(128, 96)), progress=False)
    for number, folder in enumerate(sorted({path.parent for path in root.rglob("*.dcm")})):
        (root / f"case {number}").mkdir()
        folder.rename(root / f"case {number}" / f"series {number}")
    crcs = {}
    for untrusted in (False, True):
        changes = {"data__root": str(root), "data__split": "official", "data__untrusted": untrusted}
        settings = tiny_settings(
            tmp_path, data__kind="cbis_ddsm", data__store=str(tmp_path / f"{untrusted}"), **changes
        )
        prepared = prepare_split(settings, gather_split(settings))
        crcs[untrusted] = [(entry.file, entry.crc32, entry.film_hash, entry.film_box) for entry in prepared.entries]
        assert bool(workers_of()) == untrusted
    assert len(crcs[True]) > 20
    assert crcs[True] == crcs[False]


def call_prepare(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / "prepare.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def overrides(folder: Path) -> list[str]:
    values = {
        "data.kind": "manifest",
        "data.manifest": folder / "manifest.csv",
        "data.image_size": "[32,32]",
        "output": folder / "output",
    }
    return [word for key, value in values.items() for word in ("-o", f"{key}={value}")]


def test_command_reads_untrusted_films_with_many_workers(tmp_path: Path) -> None:
    write_films(tmp_path, patients=12)
    done = call_prepare(tmp_path, "--untrusted", "-o", "data.prepare_workers=2", *overrides(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "prepared: 24 views" in done.stdout
    again = call_prepare(tmp_path, *overrides(tmp_path))
    assert again.returncode == 0
    assert "preparing" not in again.stdout  # found where the untrusted run left it


def test_option_is_a_setting(tmp_path: Path) -> None:
    assert "untrusted: true" in call_prepare(tmp_path, "--untrusted", "--print-config").stdout
    assert "untrusted: true" not in call_prepare(tmp_path, "--print-config").stdout


def test_bomb_is_listed_and_the_others_are_prepared(tmp_path: Path) -> None:
    write_films(tmp_path, patients=6)
    (tmp_path / "02_CC.png").write_bytes(b"P2\n20000 20000\n255\n" + b"7 " * 1000)
    settings = tiny_settings(tmp_path, data__untrusted=True, data__bad_images="exclude")
    samples = prepare_split(settings, gather_split(settings)).split.samples
    assert len(samples) == 11
    assert samples.excluded["case"].tolist() == ["L02CC"]


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[:200],
    "cut in the first element": lambda content: content[:146],
    "meta length lies": lambda content: content[:140] + struct.pack("<I", 0xFFFFFFF0) + content[144:],
    "nested": lambda content: (
        content[:144]
        + (struct.pack("<HH2sHI", 8, 6, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * 3000
    ),
    "long": lambda content: content[:144] + struct.pack("<HH2sHI", 8, 6, b"OB", 0, 0xFFFFFFF0) + content[144:],
    "garbage": lambda content: content[:132] + bytes(range(256)) * 40,
    "unknown kinds": lambda content: content.replace(b"UI", b"Q\xff"),
    "no text": lambda content: content.replace(b"1.2.840", b"\xff\xfe\x00\x1b$)C"),
}


@pytest.mark.parametrize("untrusted", [False, True], ids=["here", "sandbox"])
def test_hostile_headers_end_no_search_for_series(
    tmp_path: Path, untrusted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    good = saved(film_dataset(ramp(), SeriesInstanceUID="1.2.3.4.5.6.7.8"), tmp_path / "good.dcm")
    for name, spoil in HOSTILE.items():
        (tmp_path / f"{name}.dcm").write_bytes(spoil(good.read_bytes()))
    (tmp_path / "empty.dcm").write_bytes(b"")
    (tmp_path / "text").write_text("a licence", encoding="utf-8")
    os.mkfifo(tmp_path / "pipe.dcm")
    (tmp_path / "loop.dcm").symlink_to(tmp_path / "loop.dcm")
    with caplog.at_level(logging.WARNING):
        found = index_series(tmp_path, {"1.2.3.4.5.6.7.8"}, untrusted=untrusted)
    assert good in found["1.2.3.4.5.6.7.8"]
    (line,) = [record.getMessage() for record in caplog.records if record.name == "mammo.prepare.locate"]
    assert re.match(r"\d+ files have no readable series and are skipped, such as ", line)
    assert "SECRET" not in line


def test_missing_series_among_hostile_files_is_still_reported(tmp_path: Path) -> None:
    root = write_phantom(tmp_path / "data", PhantomSettings(patients=8, film_size=(128, 96)), progress=False)
    frame = read_official_csvs(root).frame
    folder = (root / frame["image"].iloc[0]).parent
    shutil.rmtree(folder)
    (folder.parent / "series").mkdir()
    (folder.parent / "series" / "a.dcm").write_bytes(bytes(128) + b"DICM" + b"\xff" * 500)
    with pytest.raises(DataMissingError, match=r"of \d+ lesions have no film or no mask there"):
        locate_files(read_official_csvs(root), root, untrusted=True)


SECRETS = {
    "PatientName": "Zyxwvut^Secretia", "PatientID": "QQ778899ZZ", "PatientBirthDate": "19430217",
    "StudyDate": "20140719",
    "AccessionNumber": "ACC4711XYZ", "InstitutionName": "Hush Hospital", "ReferringPhysicianName": "Whisper^Doc",
    "StudyInstanceUID": "2.25.1111122222333334444455555", "SeriesInstanceUID": "2.25.6666677777888889999900000",
    "SOPInstanceUID": "2.25.9876598765987659876598765", "StudyDescription": "Hidden Words",
    "OperatorsName": "Quiet^One",
}  # fmt: skip
WORDS = [word for value in SECRETS.values() for word in (value, *re.split(r"[\^ ]", value)) if len(word) > 4]


def secret_film(path: Path, number: int, **elements: object) -> Path:
    random = np.random.default_rng(number)
    dataset = film_dataset(film(random, 30 + number, 40, number % 2) >> 4, **(SECRETS | elements))
    dataset.file_meta.MediaStorageSOPInstanceUID = SECRETS["SOPInstanceUID"]
    return saved(dataset, path)


def put_secret(path: Path, tag: tuple[int, int], kind: bytes, word: bytes) -> None:
    """Put a secret where a number or a code is expected: its element's value, and kind, become a name."""
    content = path.read_bytes()
    at = content.index(struct.pack("<HH", *tag) + kind)
    length = struct.unpack("<H", content[at + 6 : at + 8])[0]
    word += b" " * (len(word) % 2)
    path.write_bytes(content[:at] + struct.pack("<HH2sH", *tag, b"LO", len(word)) + word + content[at + 8 + length :])


def secret_set(folder: Path) -> int:
    """Good films, and damaged ones with a name in place of a number, a code, a character set or a syntax."""
    name, patient = b"Zyxwvut^Secretia", b"QQ778899ZZ"
    good = {f"good{number}": secret_film(folder / f"good{number}.dcm", number) for number in range(4)}
    spoilt = {
        "rows": ((0x28, 0x10), b"US", name), "bits": ((0x28, 0x101), b"US", name), "kind": ((0x28, 4), b"CS", name),
        "syntax": ((2, 0x10), b"UI", SECRETS["StudyInstanceUID"].encode()), "centre": ((0x28, 0x1050), b"DS", patient),
        "slope": ((0x28, 0x1053), b"DS", name), "charset": ((8, 5), b"CS", name),
        "function": ((0x28, 0x1056), b"CS", name),
        "frames": ((0x28, 8), b"IS", patient), "name itself": ((0x10, 0x10), b"PN", name * 400),
    }  # fmt: skip
    for number, (label, (tag, kind, word)) in enumerate(spoilt.items(), 10):
        extra = {
            "WindowCenter": "2048",
            "WindowWidth": "4096",
            "RescaleSlope": "1",
            "RescaleIntercept": "0",
            "NumberOfFrames": "1",
        }
        path = secret_film(
            folder / f"{label}.dcm", number, SpecificCharacterSet="ISO_IR 100", VOILUTFunction="LINEAR", **extra
        )
        put_secret(path, tag, kind, word)
    whole = good["good0"].read_bytes()
    for number in range(1, 20):
        (folder / f"cut{number}.dcm").write_bytes(whole[: len(whole) * number // 40])
    random = np.random.default_rng(3)
    for number in range(25):
        flipped = np.frombuffer(whole, np.uint8).copy()
        flipped[random.integers(132, 1300, 6)] = random.integers(0, 256, 6)
        (folder / f"flipped{number}.dcm").write_bytes(flipped.tobytes())
    twins = write_twins(ramp(70, 66), folder / "twins")
    for label, path in twins.items():
        content = path.read_bytes()
        (folder / f"twin {label}.dcm").write_bytes(
            content[:-900].replace(b"SECRET^NAME", b"Zyxwvut^Secr"[:11]) + bytes(700)
        )
    shutil.rmtree(folder / "twins")
    names = sorted(folder.glob("*.dcm"))
    # Files that may decode to one film are one patient's.
    patients = [
        re.sub(r"^(flipped|cut|twin).*", r"\1", path.stem).replace("flipped", "good0").replace("cut", "good0")
        for path in names
    ]
    rows = [
        f"{path.name},{patients[number]},LEFT,CC,L{number:03d},mass,{number % 2},20,30,16,16"
        for number, path in enumerate(names)
    ]
    header = "image,patient_id,laterality,view,lesion_id,lesion_type,label,x,y,width,height"
    (folder / "manifest.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return len(names)


TALKATIVE = """
import logging, sys, warnings
from pathlib import Path
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
warnings.simplefilter("always")
from mammo.commands.shared import run
from mammo.errors import ImageError
from mammo.prepare.gather import gather_split, prepare_samples, prepare_split
from mammo.prepare.locate import index_series
from tests.tiny import tiny_settings
folder, untrusted, workers = Path(sys.argv[1]), sys.argv[2] == "True", int(sys.argv[3])
def main():
    how = {"data__untrusted": untrusted, "data__prepare_workers": workers, "data__split": "holdout"}
    how["output"] = str(folder / "output")
    settings = tiny_settings(folder, data__bad_images="exclude", **how)
    index_series(folder, {"1.2"}, untrusted=untrusted)
    prepared = prepare_split(settings, gather_split(settings))
    print(len(prepared.entries), "of", len(prepared.entries) + len(prepared.split.samples.excluded))
    print(prepared.split.samples.excluded.to_string())
    refusing = tiny_settings(folder, data__bad_images="refuse", **how)
    prepare_split(refusing, gather_split(refusing))
run(main)
"""


@pytest.mark.parametrize(("untrusted", "workers"), [(False, 1), (True, 1), (False, 2), (True, 2)])
def test_no_secret_of_a_header_comes_out(tmp_path: Path, untrusted: bool, workers: int) -> None:
    """Search every stream and file, with debug logging, all warnings, and good, damaged, refused and excluded films."""
    count = secret_set(tmp_path)
    command = [sys.executable, "-c", TALKATIVE, str(tmp_path), str(untrusted), str(workers)]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=300, check=False
    )
    out, said = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == 2, said
    prepared, listed = (int(word) for word in re.findall(r"^(\d+) of (\d+)$", out, re.MULTILINE)[0])
    assert listed == count
    assert 4 <= prepared < count
    assert f"mammo: error: images: {count - prepared} errors: " in said
    assert "DEBUG" in said
    if not untrusted and workers == 1:  # the readers did want to talk, in this very process
        assert "a message by pydicom, its text withheld" in said
    written = {path: path.read_bytes() for path in (tmp_path / "output").rglob("*") if path.is_file()}
    assert len(written) > 4
    for word in WORDS:
        assert word not in out
        assert word not in said
        assert not [
            path for path, content in written.items() if word.encode() in content or word.encode("utf-16-le") in content
        ]


def test_refusal_of_a_secret_film_is_one_line(tmp_path: Path) -> None:
    put_secret(secret_film(tmp_path / "a.dcm", 1), (0x28, 0x10), b"US", b"Zyxwvut^Secretia")
    (tmp_path / "manifest.csv").write_text(
        "image,patient_id,label,x,y,width,height\na.dcm,P1,1,1,1,5,5\n", encoding="utf-8"
    )
    settings = tiny_settings(tmp_path, data__untrusted=True, data__split="holdout")
    with pytest.raises(ImageError, match=r"a\.dcm: expected a whole number as Rows, got something else") as caught:
        prepare_samples(settings, gather_split(settings).samples)
    assert "\n" not in str(caught.value)


def test_unknown_syntax_that_is_a_secret_is_not_reported(tmp_path: Path) -> None:
    dataset = film_dataset(ramp())
    dataset.file_meta.TransferSyntaxUID = uids.UID(SECRETS["SeriesInstanceUID"])
    path = saved(dataset, tmp_path / "a.dcm", implicit_vr=False, little_endian=True)
    with pytest.raises(ImageError, match="transfer syntax is not read \\(unknown to the DICOM standard\\)"):
        read_untrusted_film(path)
