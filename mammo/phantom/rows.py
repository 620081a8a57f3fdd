"""Writes one planned patient as DICOM files and returns the rows of the official CSVs that name them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mammo.phantom.dicom import Identity, write_film, write_part
from mammo.phantom.film import Breast, draw_breast, expose, unit_px, write_on_film
from mammo.phantom.lesion import Lesion, draw_lesion, lesion_radius
from mammo.phantom.plan import STREAM_OF_PATIENT, Finding, Patient, generator

INVERTED_SHARE = 0.08
WRONG_SIDE_SHARE = 0.1  # LEFT/RIGHT does not always say on which side the chest wall is
CSV_SWAPPED_SHARE = 0.2  # the CSV calls the mask the crop
SMALL_MASK_EVERY_PATIENTS = 25  # about 2 % of all masks
PLACES_TRIED = 40
TYPE_NAMES = {"mass": "Mass", "calcification": "Calc"}
PART_NAMES = {"train": "Training", "test": "Test"}


@dataclass(frozen=True)
class Row:
    """One line of a CSV: the lesion type and part that name the CSV, and the cells by column."""

    lesion_type: str
    part: str
    cells: dict[str, str]


def write_patient(root: Path, patient: Patient, *, size: tuple[int, int], seed: int, salt: str) -> list[Row]:
    """Draw and write all films of one patient that show a finding.

    Args:
        root: The folder to which the paths in the rows are relative.
        patient: From the plan.
        size: Height and width of a film in pixels.
        seed: The phantom's seed.
        salt: Goes into every UID.
    """
    rng = generator(seed, STREAM_OF_PATIENT, patient.number)
    rows = []
    for laterality in ("LEFT", "RIGHT"):
        findings = [finding for finding in patient.findings if finding.laterality == laterality]
        for view in ("CC", "MLO") if findings else ():
            prefix = f"{TYPE_NAMES[findings[0].lesion_type]}-{PART_NAMES[patient.part]}"
            name = f"{prefix}_{patient.patient_id}_{laterality}_{view}"
            film = Identity(patient.patient_id, laterality, view, salt, name, instance=0)
            rows += _write_view(rng, root, patient, findings, film, size)
    return rows


def _write_view(
    rng: np.random.Generator,
    root: Path,
    patient: Patient,
    findings: list[Finding],
    film: Identity,
    size: tuple[int, int],
) -> list[Row]:
    pixels, masks = _draw_view(rng, patient, findings, view=film.view, size=size)
    write_film(root, film, pixels, inverted=bool(rng.random() < INVERTED_SHARE))
    rows = []
    for number, (finding, mask) in enumerate(zip(findings, masks, strict=True)):
        small = patient.number % SMALL_MASK_EVERY_PATIENTS == 0 and number == 0 and film.view == "CC"
        parts = _write_parts(rng, root, film, finding, pixels, mask, small=small)
        cells = {
            "patient_id": patient.patient_id,
            "density": str(patient.density),
            "left or right breast": finding.laterality,
            "image view": film.view,
            "image file path": film.path,
            **parts,
            **_finding_cells(rng, finding),
        }
        rows.append(Row(finding.lesion_type, patient.part, cells))
    return rows


def _draw_view(
    rng: np.random.Generator, patient: Patient, findings: list[Finding], *, view: str, size: tuple[int, int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Draw a film, uint16 [H, W], and each finding's mask, bool [H, W], in the film's own orientation."""
    breast = draw_breast(rng, size, view=view, density=patient.density)
    tissue, unit = breast.tissue.copy(), unit_px(size)
    masks: list[np.ndarray] = []
    for finding in findings:
        kind = finding.lesion_type
        radius = lesion_radius(kind, float(np.clip(finding.size + rng.normal(0, 0.08), 0, 1)), unit)
        contrast = float(np.clip(finding.contrast + rng.normal(0, 0.1), 0, 1))
        lesion = draw_lesion(
            rng, lesion_type=kind, malignant=finding.malignant, radius=radius, contrast=contrast, unit=unit
        )
        place = _find_place(rng, breast, masks, radius, finding.depth)
        masks.append(_add(tissue, lesion, place) & (breast.radius < 1))
    film = expose(rng, tissue)
    if (findings[0].laterality == "RIGHT") != (rng.random() < WRONG_SIDE_SHARE):
        film, masks = np.ascontiguousarray(film[:, ::-1]), [np.ascontiguousarray(mask[:, ::-1]) for mask in masks]
    return write_on_film(rng, film, f"{findings[0].laterality[0]} {view}"), masks


def _find_place(
    rng: np.random.Generator, breast: Breast, taken: list[np.ndarray], radius: float, depth: float
) -> tuple[int, int]:
    """Draw places and return the best: inside the breast, off the muscle and other lesions, at the finding's depth."""
    inside = (breast.radius < 0.98).astype(np.uint8)
    inside[[0, -1]] = 0
    room = cv2.distanceTransform(np.pad(inside, ((0, 0), (1, 0))), cv2.DIST_L2, 3)[:, 1:]
    rows, columns = np.nonzero(room > min(1.4 * radius, 0.9 * float(room.max())))
    pick = rng.integers(0, len(rows), PLACES_TRIED)
    rows, columns = rows[pick], columns[pick]
    deepest = float(np.nonzero(inside.any(axis=0))[0].max())
    cost = np.abs(columns / deepest - depth) + breast.pectoral[rows, columns]
    for mask in taken:
        gap = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 3)
        cost = cost + 2 * (gap[rows, columns] < 1.8 * radius)
    best = int(cost.argmin())
    return int(rows[best]), int(columns[best])


def _add(tissue: np.ndarray, lesion: Lesion, place: tuple[int, int]) -> np.ndarray:
    """Add the profile to the tissue in place, cut at the film's edges; return the outline on the film's grid."""
    half = lesion.profile.shape[0] // 2
    (top, left), (height, width) = (place[0] - half, place[1] - half), tissue.shape
    film = np.s_[max(top, 0) : min(top + 2 * half + 1, height), max(left, 0) : min(left + 2 * half + 1, width)]
    own = np.s_[film[0].start - top : film[0].stop - top, film[1].start - left : film[1].stop - left]
    tissue[film] += lesion.profile[own] * (tissue[film] > 0)
    outline = np.zeros(tissue.shape, bool)
    outline[film] = lesion.outline[own]
    return outline


def _write_parts(
    rng: np.random.Generator,
    root: Path,
    film: Identity,
    finding: Finding,
    pixels: np.ndarray,
    mask: np.ndarray,
    *,
    small: bool,
) -> dict[str, str]:
    """Write crop and mask to one series in either order, and return their CSV cells, which are sometimes swapped."""
    rows, columns = np.nonzero(mask)
    crop = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] * np.uint16(16)
    mask = mask.astype(np.uint8) * np.uint8(255)
    if small:
        mask = cv2.resize(mask, (mask.shape[1] // 2, mask.shape[0] // 2), interpolation=cv2.INTER_NEAREST)
    description = str(rng.choice(("cropped images", "ROI mask images")))
    is_mass = finding.lesion_type == "mass"
    crop_first = is_mass != bool(rng.random() < CSV_SWAPPED_SHARE)
    paths = []
    for instance, part in enumerate((crop, mask) if crop_first else (mask, crop)):
        identity = dataclasses.replace(film, name=f"{film.name}_{finding.number}", instance=instance)
        write_part(root, identity, part, description=description)
        paths.append(identity.path)
    # The official files name 000000 the crop of a mass and 000001 the crop of a calcification, whatever they contain.
    crop_path, mask_path = paths if is_mass else reversed(paths)
    return {"cropped image file path": crop_path, "ROI mask file path": mask_path}


def _finding_cells(rng: np.random.Generator, finding: Finding) -> dict[str, str]:
    if finding.malignant:
        pathology, assessment = "MALIGNANT", rng.choice((4, 5))
    elif finding.without_callback:
        pathology, assessment = "BENIGN_WITHOUT_CALLBACK", 2
    else:
        pathology, assessment = "BENIGN", rng.choice((3, 4))
    cells = {
        "abnormality id": str(finding.number),
        "abnormality type": finding.lesion_type,
        "assessment": str(assessment),
        "pathology": pathology,
        "subtlety": str(1 + int(finding.contrast * 4.99)),
    }
    if finding.lesion_type == "mass":
        shape = "IRREGULAR" if finding.malignant else str(rng.choice(("ROUND", "OVAL")))
        return cells | {"mass shape": shape, "mass margins": "SPICULATED" if finding.malignant else "CIRCUMSCRIBED"}
    calc_type = "FINE_LINEAR_BRANCHING" if finding.malignant else "ROUND_AND_REGULAR"
    return cells | {"calc type": calc_type, "calc distribution": "CLUSTERED" if finding.malignant else "REGIONAL"}
