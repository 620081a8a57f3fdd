"""Turns one planned patient into DICOM files and the rows of the official CSVs that name them."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mammo.phantom.dicom import Identity, write_film, write_part
from mammo.phantom.film import Breast, draw_breast, expose, unit_px, write_on_film
from mammo.phantom.lesion import Lesion, draw_lesion, lesion_radius
from mammo.phantom.plan import STREAM_OF_PATIENT, Finding, Patient, generator

VIEWS = ("CC", "MLO")
INVERTED_SHARE = 0.08
WRONG_SIDE_SHARE = 0.1  # LEFT/RIGHT does not always tell where the chest wall lies
CSV_SWAPPED_SHARE = 0.2  # the CSV calls the mask the crop
SMALL_MASK_EVERY_PATIENTS = 25  # about 2 % of all masks
PLACES_TRIED = 40
TYPE_NAMES = {"mass": "Mass", "calcification": "Calc"}


@dataclass(frozen=True)
class Row:
    """One line of a CSV: the file it belongs to and the cells by column."""

    lesion_type: str
    part: str
    cells: dict[str, str]


@dataclass(frozen=True)
class Placed:
    """A finding as one view shows it: its mask, bool [H, W], in the film's own orientation."""

    finding: Finding
    mask: np.ndarray


def write_patient(root: Path, patient: Patient, *, size: tuple[int, int], seed: int, salt: str) -> list[Row]:
    """Draw and write all films of one patient that show a finding.

    Args:
        root: The folder that the paths in the rows start from.
        patient: From the plan.
        size: Height and width of a film.
        seed: Of the phantom.
        salt: Goes into every UID.
    """
    rng = generator(seed, STREAM_OF_PATIENT, patient.number)
    rows = []
    for laterality in ("LEFT", "RIGHT"):
        findings = [finding for finding in patient.findings if finding.laterality == laterality]
        for view in VIEWS if findings else ():
            rows += _write_view(rng, root, patient, findings, view=view, size=size, salt=salt)
    return rows


def _write_view(
    rng: np.random.Generator,
    root: Path,
    patient: Patient,
    findings: list[Finding],
    *,
    view: str,
    size: tuple[int, int],
    salt: str,
) -> list[Row]:
    film, placed = _draw_view(rng, patient, findings, view=view, size=size)
    laterality, kind = findings[0].laterality, findings[0].lesion_type
    name = f"{TYPE_NAMES[kind]}-{'Training' if patient.part == 'train' else 'Test'}_{patient.patient_id}_{laterality}_{view}"
    who = Identity(patient.patient_id, laterality, view, salt, study=name, series=name, instance=0)
    write_film(root, who, film, inverted=bool(rng.random() < INVERTED_SHARE))
    rows = []
    for number, one in enumerate(placed):
        lesion_name = f"{name}_{one.finding.number}"
        small = patient.number % SMALL_MASK_EVERY_PATIENTS == 0 and number == 0 and view == "CC"
        crop, mask = _write_parts(rng, root, who, lesion_name, film, one, small=small)
        rows.append(Row(kind, patient.part, _cells(rng, patient, one.finding, view, (who.path, crop, mask))))
    return rows


def _draw_view(
    rng: np.random.Generator, patient: Patient, findings: list[Finding], *, view: str, size: tuple[int, int]
) -> tuple[np.ndarray, list[Placed]]:
    breast = draw_breast(rng, size, view=view, density=patient.density)
    tissue, unit = breast.tissue.copy(), unit_px(size)
    masks: list[np.ndarray] = []
    for finding in findings:
        radius = lesion_radius(finding.lesion_type, float(np.clip(finding.size + rng.normal(0, 0.08), 0, 1)), unit)
        contrast = float(np.clip(finding.contrast + rng.normal(0, 0.1), 0, 1))
        lesion = draw_lesion(
            rng,
            lesion_type=finding.lesion_type,
            malignant=finding.malignant,
            radius=radius,
            contrast=contrast,
            unit=unit,
        )
        place = _find_place(rng, breast, masks, radius, finding.depth)
        masks.append(_add(tissue, lesion, place) & (breast.radius < 1))
    film = expose(rng, tissue)
    mirrored = (findings[0].laterality == "RIGHT") != (rng.random() < WRONG_SIDE_SHARE)
    if mirrored:
        film, masks = film[:, ::-1], [mask[:, ::-1] for mask in masks]
    film = write_on_film(rng, np.ascontiguousarray(film), f"{findings[0].laterality[0]} {view}")
    return film, [Placed(finding, np.ascontiguousarray(mask)) for finding, mask in zip(findings, masks, strict=True)]


def _find_place(
    rng: np.random.Generator, breast: Breast, taken: list[np.ndarray], radius: float, depth: float
) -> tuple[int, int]:
    """Draw places and keep the best: well inside the breast, off the muscle and other lesions, as deep as the finding lies."""
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
    rng: np.random.Generator, root: Path, film: Identity, name: str, pixels: np.ndarray, one: Placed, *, small: bool
) -> tuple[str, str]:
    """Write crop and mask to one series, in either order; return what the CSV calls crop and mask, sometimes the wrong way round."""
    rows, columns = np.nonzero(one.mask)
    crop = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] * np.uint16(16)
    mask = one.mask.astype(np.uint8) * np.uint8(255)
    if small:
        mask = cv2.resize(mask, (mask.shape[1] // 2, mask.shape[0] // 2), interpolation=cv2.INTER_NEAREST)
    description = str(rng.choice(("cropped images", "ROI mask images")))
    crop_first = bool(one.finding.lesion_type == "mass") != bool(rng.random() < CSV_SWAPPED_SHARE)
    paths = []
    for instance, part in enumerate((crop, mask) if crop_first else (mask, crop)):
        who = Identity(
            film.patient_id, film.laterality, film.view, film.salt, study=name, series=name, instance=instance
        )
        write_part(root, who, np.ascontiguousarray(part), description=description)
        paths.append(who.path)
    # The official files name 000000 the crop of a mass, and 000001 the crop of a calcification, whatever they hold.
    return (paths[0], paths[1]) if one.finding.lesion_type == "mass" else (paths[1], paths[0])


def _cells(
    rng: np.random.Generator, patient: Patient, finding: Finding, view: str, paths: tuple[str, str, str]
) -> dict[str, str]:
    pathology = (
        "MALIGNANT" if finding.malignant else "BENIGN_WITHOUT_CALLBACK" if finding.without_callback else "BENIGN"
    )
    assessment = rng.choice((4, 5)) if finding.malignant else 2 if finding.without_callback else rng.choice((3, 4))
    image, crop, mask = paths
    cells = {
        "patient_id": patient.patient_id,
        "density": str(patient.density),
        "left or right breast": finding.laterality,
        "image view": view,
        "abnormality id": str(finding.number),
        "abnormality type": finding.lesion_type,
        "assessment": str(assessment),
        "pathology": pathology,
        "subtlety": str(1 + int(finding.contrast * 4.99)),
        "image file path": image,
        "cropped image file path": crop,
        "ROI mask file path": mask,
    }
    if finding.lesion_type == "mass":
        shape = "IRREGULAR" if finding.malignant else str(rng.choice(("ROUND", "OVAL")))
        return cells | {"mass shape": shape, "mass margins": "SPICULATED" if finding.malignant else "CIRCUMSCRIBED"}
    calc_type = "FINE_LINEAR_BRANCHING" if finding.malignant else "ROUND_AND_REGULAR"
    return cells | {"calc type": calc_type, "calc distribution": "CLUSTERED" if finding.malignant else "REGIONAL"}
