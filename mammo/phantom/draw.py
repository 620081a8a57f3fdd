"""Writes the phantom, a generated data set: a folder of DICOM films with the four CSVs of CBIS-DDSM."""

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
FEW = 20  # patients per process; with fewer, starting the process takes longer than it saves
SMALLEST_FILM = (96, 72)
# The official files have the same columns except these: the spelling of density, and two columns of each type.
OWN_COLUMNS = {
    "mass": ("breast_density", "mass shape", "mass margins"),
    "calcification": ("breast density", "calc type", "calc distribution"),
}
# In the official files this one column of each type ends in a line break.
BROKEN_COLUMN = {"mass": "ROI mask file path", "calcification": "cropped image file path"}


def write_phantom(folder: Path, settings: PhantomSettings, *, progress: bool = True) -> Path:
    """Write the phantom, or keep it if it is complete and of the same settings and generator.

    A damaged phantom, or one of other settings, is written again beside the folder and renamed into place. If
    several processes call this at once, one writes and the others wait.

    Args:
        folder: Where to write; absent, empty or an older phantom.
        settings: Patients, film size and seed; the same settings give the same bytes.
        progress: Show a progress bar.

    Returns:
        `folder`.

    Raises:
        SettingsError: The film is too small, or the folder has other content.
    """
    folder = Path(folder)
    _check(folder, settings)
    if _is_complete(folder, settings):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock"), doing=f"{folder}: this phantom is being written", wait=True):
        if not _is_complete(folder, settings):  # another process may have written it meanwhile
            _replace(folder, settings, progress)
    return folder


def _check(folder: Path, settings: PhantomSettings) -> None:
    if any(have < need for have, need in zip(settings.film_size, SMALLEST_FILM, strict=True)):
        raise SettingsError(
            f"data.phantom.film_size: expected at least {list(SMALLEST_FILM)}, got {list(settings.film_size)}"
        )
    if folder.exists() and not (folder / MARKER).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(
            f"{folder}: expected a phantom ({MARKER}) or nothing, found other files; move them or name another folder"
        )


def _is_complete(folder: Path, settings: PhantomSettings) -> bool:
    """Whether the folder holds a whole, undamaged phantom of these settings; reads every byte, about 0.5 s per GB."""
    try:
        marker = read_json(folder / MARKER)
    except (OSError, ValueError):
        return False
    same = marker.get("generator") == GENERATOR_VERSION and marker.get("settings") == settings.model_dump(mode="json")
    return same and marker.get("sha256") == _hash_files(folder)


def _hash_files(folder: Path) -> str:
    """SHA-256 over names and contents of all files below the folder except the marker."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MARKER):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _replace(folder: Path, settings: PhantomSettings, progress: bool) -> None:
    # The process number keeps apart what workers of a killed process may still write for a moment.
    beside, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("partial", "old"))
    for end in ("partial", "old"):  # remove what killed processes left
        for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.{end}"):
            shutil.rmtree(left, ignore_errors=True)
    beside.mkdir()
    try:
        _fill(beside, settings, progress)
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _fill(folder: Path, settings: PhantomSettings, progress: bool) -> None:
    patients = plan_patients(settings.patients, settings.seed)
    about = settings.model_dump(mode="json")
    salt = f"{GENERATOR_VERSION} {json.dumps(about, sort_keys=True)}"
    draw = functools.partial(_draw, folder, size=settings.film_size, seed=settings.seed, salt=salt)
    workers = min(available_cores(), len(patients) // FEW)
    drawn = spread(draw, patients, workers, ordered=True) if workers > 1 else map(draw, patients)
    shown = track(drawn, len(patients), "generating phantom patients") if progress else drawn
    rows = [row for of_patient in shown for row in of_patient]
    for (lesion_type, part), name in CSV_FILES.items():
        _write_csv(
            folder / name, [row for row in rows if (row.lesion_type, row.part) == (lesion_type, part)], lesion_type
        )
    marker = {
        "what": "generated phantom, not patients",
        "generator": GENERATOR_VERSION,
        "settings": about,
        "sha256": _hash_files(folder),
    }
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def _draw(folder: Path, patient: Patient, *, size: tuple[int, int], seed: int, salt: str) -> list[Row]:
    """Draw one patient; her number alone seeds the draws, so any number of processes draws the same bytes."""
    cv2.setNumThreads(1)
    return write_patient(folder, patient, size=size, seed=seed, salt=salt)


def _write_csv(path: Path, rows: list[Row], lesion_type: str) -> None:
    density, *own = OWN_COLUMNS[lesion_type]
    columns = ["patient_id", density, "left or right breast", "image view", "abnormality id", "abnormality type", *own]
    columns += ["assessment", "pathology", "subtlety"]
    columns += ["image file path", "cropped image file path", "ROI mask file path"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            cells = row.cells | {density: row.cells["density"]}
            cells[BROKEN_COLUMN[lesion_type]] += "\n"
            writer.writerow([cells[column] for column in columns])
