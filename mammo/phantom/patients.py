"""Plans the phantom's patients, writes one as DICOM files, and returns the rows of the official CSVs that name them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mammo.phantom.dicom import Identity, write_film, write_part
from mammo.phantom.film import Breast, draw_breast, expose, unit_px, write_on_film
from mammo.phantom.lesion import draw_lesion, lesion_radius

MALIGNANT_SHARE = 0.45
WITHOUT_CALLBACK_SHARE = 0.2  # of the benign; CBIS-DDSM has 0.32
TWO_FINDINGS_SHARE = 0.75
SAME_BREAST_SHARE = 0.3
TEST_EVERY = 5
INVERTED_SHARE = 0.08
WRONG_SIDE_SHARE = 0.1  # LEFT/RIGHT does not always say on which side the chest wall is
CSV_SWAPPED_SHARE = 0.2  # the CSV calls the mask the crop
SMALL_MASK_EVERY_PATIENTS = 25  # about 2 % of all masks
PLACES_TRIED = 40
STREAM_OF_PLAN = 0
STREAM_OF_PATIENT = 1
TYPE_NAMES = {"mass": "Mass", "calcification": "Calc"}
PART_NAMES = {"train": "Training", "test": "Test"}


@dataclass(frozen=True)
class Finding:
    """One lesion; `contrast` and `size` are in 0-1 of its type's range, `number` counts within the breast."""

    lesion_type: str
    laterality: str
    number: int
    malignant: bool
    without_callback: bool
    size: float
    contrast: float
    depth: float


@dataclass(frozen=True)
class Patient:
    """One person; `density` is 1-4 (BI-RADS), `part` is train or test."""

    number: int
    part: str
    density: int
    findings: tuple[Finding, ...]

    @property
    def patient_id(self) -> str:
        """The id in the CSVs."""
        return f"PHANTOM_{self.number:05d}"


def plan_patients(patients: int, seed: int) -> tuple[Patient, ...]:
    """Draw the patients. About a fifth are for testing; from 8 patients on, each official CSV has at least one row."""
    rng = np.random.default_rng([seed % 2**32, STREAM_OF_PLAN])
    types = rng.permutation(np.where(np.arange(patients) % 5 < 3, "mass", "calcification"))
    counts = 1 + (rng.random(patients) < TWO_FINDINGS_SHARE)
    malignant = rng.permutation(np.arange(counts.sum()) < round(MALIGNANT_SHARE * counts.sum()))
    labels = np.split(malignant, np.cumsum(counts)[:-1])
    test = {person for name in ("mass", "calcification") for person in np.flatnonzero(types == name)[::TEST_EVERY]}
    return tuple(
        Patient(
            number=person + 1,
            part="test" if person in test else "train",
            density=int(rng.choice(4, p=(0.15, 0.4, 0.3, 0.15))) + 1,
            findings=_draw_findings(rng, str(types[person]), labels[person]),
        )
        for person in range(patients)
    )


def _draw_findings(rng: np.random.Generator, first_type: str, malignant: np.ndarray) -> tuple[Finding, ...]:
    sides = list(rng.permutation(["LEFT", "RIGHT"]))
    together = rng.random() < SAME_BREAST_SHARE
    findings = []
    for index, label in enumerate(malignant):
        other = "calcification" if first_type == "mass" else "mass"
        findings.append(
            Finding(
                # One breast holds one type: CBIS-DDSM keeps its films per type.
                lesion_type=first_type if together or index == 0 or rng.random() < 0.6 else other,
                laterality=str(sides[0] if together else sides[index]),
                number=index + 1 if together else 1,
                malignant=bool(label),
                without_callback=bool(not label and rng.random() < WITHOUT_CALLBACK_SHARE),
                size=float(rng.random()),
                contrast=float(rng.random()),
                depth=float(rng.uniform(0.25, 0.75)),
            )
        )
    return tuple(findings)


def write_patient(root: Path, patient: Patient, *, size: tuple[int, int], seed: int, salt: str) -> list[dict[str, str]]:
    """Draw and write all films of one patient that show a finding.

    Her number alone seeds the draws, so any number of processes draws the same bytes.

    Args:
        root: The folder to which the paths in the rows are relative.
        patient: From the plan.
        size: Height and width of a film in pixels.
        seed: The phantom's seed.
        salt: Goes into every UID.

    Returns:
        A row for each finding and view: the cells by their official column, in the official order.
    """
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed % 2**32, STREAM_OF_PATIENT, patient.number])
    rows = []
    for laterality in ("LEFT", "RIGHT"):
        findings = [finding for finding in patient.findings if finding.laterality == laterality]
        for view in ("CC", "MLO") if findings else ():
            prefix = f"{TYPE_NAMES[findings[0].lesion_type]}-{PART_NAMES[patient.part]}"
            name = f"{prefix}_{patient.patient_id}_{laterality}_{view}"
            film = Identity(patient.patient_id, laterality, view, salt, name, instance=0)
            pixels, masks = _draw_view(rng, patient, findings, view=view, size=size)
            write_film(root, film, pixels, inverted=bool(rng.random() < INVERTED_SHARE))
            small = patient.number % SMALL_MASK_EVERY_PATIENTS == 0 and view == "CC"
            for finding, mask in zip(findings, masks, strict=True):
                paths = _write_parts(rng, root, film, finding, pixels, mask, small=small and finding is findings[0])
                rows.append(_cells(rng, patient, film, finding) | paths)
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
        lesion = draw_lesion(rng, kind, malignant=finding.malignant, radius=radius, contrast=contrast, unit=unit)
        place = _find_place(rng, breast, masks, radius, finding.depth)
        masks.append(_add(tissue, *lesion, place) & (breast.radius < 1))
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


def _add(tissue: np.ndarray, profile: np.ndarray, outline: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """Add a lesion's profile to the tissue in place, cut at the film's edges; return its outline on the film's grid."""
    half = profile.shape[0] // 2
    (top, left), (height, width) = (place[0] - half, place[1] - half), tissue.shape
    film = np.s_[max(top, 0) : min(top + 2 * half + 1, height), max(left, 0) : min(left + 2 * half + 1, width)]
    own = np.s_[film[0].start - top : film[0].stop - top, film[1].start - left : film[1].stop - left]
    tissue[film] += profile[own] * (tissue[film] > 0)
    mask = np.zeros(tissue.shape, bool)
    mask[film] = outline[own]
    return mask


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
    """Write crop and mask to one series in either order, and return the CSV's paths, which are sometimes swapped.

    In the official files the last path of a mass and the last but one of a calcification end in a line break.
    """
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
    crop_path, mask_path = (paths[0], paths[1] + "\n") if is_mass else (paths[1] + "\n", paths[0])
    return {"image file path": film.path, "cropped image file path": crop_path, "ROI mask file path": mask_path}


def _cells(rng: np.random.Generator, patient: Patient, film: Identity, finding: Finding) -> dict[str, str]:
    """Make a row's cells before the paths, by column; the two lesion types differ in three of the columns."""
    if finding.malignant:
        pathology, assessment = "MALIGNANT", rng.choice((4, 5))
    elif finding.without_callback:
        pathology, assessment = "BENIGN_WITHOUT_CALLBACK", 2
    else:
        pathology, assessment = "BENIGN", rng.choice((3, 4))
    if finding.lesion_type == "mass":
        density = "breast_density"
        shape = "IRREGULAR" if finding.malignant else str(rng.choice(("ROUND", "OVAL")))
        own = {"mass shape": shape, "mass margins": "SPICULATED" if finding.malignant else "CIRCUMSCRIBED"}
    else:
        density = "breast density"
        calc_type = "FINE_LINEAR_BRANCHING" if finding.malignant else "ROUND_AND_REGULAR"
        own = {"calc type": calc_type, "calc distribution": "CLUSTERED" if finding.malignant else "REGIONAL"}
    return {
        "patient_id": patient.patient_id,
        density: str(patient.density),
        "left or right breast": finding.laterality,
        "image view": film.view,
        "abnormality id": str(finding.number),
        "abnormality type": finding.lesion_type,
        **own,
        "assessment": str(assessment),
        "pathology": pathology,
        "subtlety": str(1 + int(finding.contrast * 4.99)),
    }
