"""Draws the phantom's patients, with their breasts and findings but without pixels."""

from dataclasses import dataclass

import numpy as np

MALIGNANT_SHARE = 0.45
WITHOUT_CALLBACK_SHARE = 0.2  # of the benign; CBIS-DDSM has 0.32
TWO_FINDINGS_SHARE = 0.75
SAME_BREAST_SHARE = 0.3
TEST_EVERY = 5
STREAM_OF_PLAN = 0
STREAM_OF_PATIENT = 1


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
    rng = generator(seed, STREAM_OF_PLAN)
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


def generator(seed: int, *stream: int) -> np.random.Generator:
    """Make the random generator of one stream, such as (1, patient number); streams are independent."""
    return np.random.default_rng([seed % 2**32, *stream])


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
