"""Generates the phantom: settings in, a folder of DICOM films with the four CSVs of CBIS-DDSM's form out. No patient is in it."""

import csv
import functools
import glob
import hashlib
import json
import os
import shutil
from pathlib import Path

import cv2

from mammo.cases.cbis_ddsm import CSV_FILES
from mammo.errors import SettingsError
from mammo.files import locked, read_json
from mammo.parallel.processes import spread
from mammo.phantom.plan import Patient, plan_patients
from mammo.phantom.rows import Row, write_patient
from mammo.progress import track
from mammo.runtime import available_cores
from mammo.settings.schema import PhantomSettings

GENERATOR_VERSION = 1
MARKER = "phantom.json"
FEW = 20  # patients a process, below which starting it takes longer than it saves
SMALLEST_FILM = (96, 72)
# The official files agree on all columns but these: the density's spelling and the type's two own columns.
OWN_COLUMNS = {
    ("mass", "train"): ("breast_density", "mass shape", "mass margins"),
    ("mass", "test"): ("breast_density", "mass shape", "mass margins"),
    ("calcification", "train"): ("breast density", "calc type", "calc distribution"),
    ("calcification", "test"): ("breast density", "calc type", "calc distribution"),
}
# In the official files this one column of each type ends in a line break.
BROKEN_COLUMN = {"mass": "ROI mask file path", "calcification": "cropped image file path"}


def write_phantom(folder: Path, settings: PhantomSettings, *, progress: bool = True) -> Path:
    """Write the phantom, or leave it as it is when it is complete and of the same settings and generator.

    A damaged phantom, or one of other settings, is written anew beside the folder and renamed into place. Of
    several processes one writes and the others wait.

    Args:
        folder: Where it shall lie; absent, empty or an older phantom.
        settings: Patients, film size and seed; the same settings give the same bytes.
        progress: Show how far it is.

    Returns:
        `folder`.

    Raises:
        SettingsError: The film is too small, or the folder holds something else.
    """
    folder = Path(folder)
    _check(folder, settings)
    if is_complete(folder, settings):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), doing=f"{folder}: this phantom is being written", wait=True):
        if not is_complete(folder, settings):  # another process may have written it meanwhile
            _write_anew(folder, settings, progress)
    return folder


def _write_anew(folder: Path, settings: PhantomSettings, progress: bool) -> None:
    for left in [
        *folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"),
        *folder.parent.glob(f".{glob.escape(folder.name)}.*.old"),
    ]:
        shutil.rmtree(left, ignore_errors=True)  # of processes that were killed
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    beside.mkdir()
    try:
        _fill(beside, settings, progress)
        _replace(folder, beside)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def is_complete(folder: Path, settings: PhantomSettings) -> bool:
    """Tell whether the folder holds a whole, undamaged phantom of these settings (every byte is read: about 0.5 s per GB)."""
    try:
        marker = read_json(folder / MARKER)
    except (OSError, ValueError):
        return False
    same = marker.get("generator") == GENERATOR_VERSION and marker.get("settings") == _as_json(settings)
    return same and marker.get("sha256") == hash_files(folder)


def hash_files(folder: Path) -> str:
    """SHA-256 over names and contents of all files below the folder but the marker."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MARKER):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _check(folder: Path, settings: PhantomSettings) -> None:
    if any(have < need for have, need in zip(settings.film_size, SMALLEST_FILM, strict=True)):
        raise SettingsError(
            f"data.phantom.film_size: expected at least {list(SMALLEST_FILM)}, got {list(settings.film_size)}"
        )
    if folder.exists() and not (folder / MARKER).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(
            f"{folder}: expected a phantom ({MARKER}) or nothing there, found other files; move them or name another folder"
        )


def _as_json(settings: PhantomSettings) -> dict[str, object]:
    return settings.model_dump(mode="json")


def _fill(folder: Path, settings: PhantomSettings, progress: bool) -> None:
    patients = plan_patients(settings.patients, settings.seed)
    salt = f"{GENERATOR_VERSION} {json.dumps(_as_json(settings), sort_keys=True)}"
    draw = functools.partial(_draw, folder, size=settings.film_size, seed=settings.seed, salt=salt)
    workers = min(available_cores(), len(patients) // FEW)
    drawn = spread(draw, patients, workers, ordered=True) if workers > 1 else map(draw, patients)
    shown = track(drawn, len(patients), "generating phantom patients") if progress else drawn
    rows = [row for of_patient in shown for row in of_patient]
    for (lesion_type, part), name in CSV_FILES.items():
        _write_csv(
            folder / name,
            [row for row in rows if (row.lesion_type, row.part) == (lesion_type, part)],
            lesion_type,
            part,
        )
    marker = {
        "what": "generated phantom, not patients",
        "generator": GENERATOR_VERSION,
        "settings": _as_json(settings),
        "sha256": hash_files(folder),
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _draw(folder: Path, patient: Patient, *, size: tuple[int, int], seed: int, salt: str) -> list[Row]:
    """Draw one patient, whose numbers come from her own number alone, so that several processes draw the same bytes as one."""
    cv2.setNumThreads(1)
    return write_patient(folder, patient, size=size, seed=seed, salt=salt)


def _write_csv(path: Path, rows: list[Row], lesion_type: str, part: str) -> None:
    density, *own = OWN_COLUMNS[lesion_type, part]
    columns = ["patient_id", density, "left or right breast", "image view", "abnormality id", "abnormality type", *own]
    columns += [
        "assessment",
        "pathology",
        "subtlety",
        "image file path",
        "cropped image file path",
        "ROI mask file path",
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            cells = row.cells | {density: row.cells["density"]}
            cells[BROKEN_COLUMN[lesion_type]] += "\n"
            writer.writerow([cells[column] for column in columns])


def _replace(folder: Path, beside: Path) -> None:
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    if folder.exists():
        folder.rename(old)
    beside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
