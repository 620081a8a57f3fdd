"""Samples in, parts out: train, validation and test, never one patient in two; and k folds of the same kind."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mammo.cases.samples import SampleTable, make_samples
from mammo.cases.table import LesionTable
from mammo.errors import SplitError, in_one_line
from mammo.settings import DataSettings

PARTS = ("train", "validation", "test")
SPLIT_COLUMNS = ("case_id", "patient_id", "label", "part")


@dataclass(frozen=True)
class Split:
    """`samples` (cases that a rule drops are listed in its exclusions) and the part of each, in the same order.

    `source_leaks` names the patients that the source's own split has on two sides, where that split is used: once lesions
    are gathered to films or breasts, it can no longer be seen.
    """

    samples: SampleTable
    part: np.ndarray
    source_leaks: tuple[str, ...] = ()

    def rows(self, part: str) -> np.ndarray:
        """Row numbers of a part's cases."""
        return np.flatnonzero(self.part == part)

    def frame(self) -> pd.DataFrame:
        """The table that a run folder keeps as `split.csv`."""
        return self.samples.cases[["case_id", "patient_id", "label"]].assign(part=self.part)

    @property
    def sha256(self) -> str:
        """A hash of who is where, the same whatever the order of rows."""
        return split_sha256(self.frame())


def split_sha256(frame: pd.DataFrame) -> str:
    """A hash of who is where: of the rows of `split.csv`, in whatever order."""
    rows = frame[list(SPLIT_COLUMNS)].itertuples(index=False)
    lines = sorted(f"{case}\t{patient}\t{label}\t{part}" for case, patient, label, part in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def split_lesions(table: LesionTable, data: DataSettings) -> Split:
    """Gather lesions to the samples of the settings' task, and give each a part.

    Raises:
        SplitError: The source has no such split.
    """
    if data.split == "official_clean":
        table = drop_shared_patients(table, data.clean_from)
    split = make_split(
        make_samples(table, data.task), data.split, seed=data.split_seed, fractions=data.fractions, folds=data.folds, fold=data.fold
    )
    return split if data.split == "holdout" else replace(split, source_leaks=tuple(source_leaks(table)))


def make_split(
    samples: SampleTable,
    kind: str,
    *,
    seed: int = 0,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    folds: int = 0,
    fold: int = 0,
) -> Split:
    """Give every sample a part.

    Args:
        samples: All samples.
        kind: `official` or `official_clean` (the source's train and test), `manifest` (the manifest's own column) or
            `holdout` (seeded, stratified, by patient).
        seed: Draws the hold-out and the validation part.
        fractions: Train, validation, test, of patients. Where the source has a test part, validation takes
            validation / (train + validation) of the training patients.
        folds: With holdout: as many test parts, of which `fold` is taken; validation comes out of the others.
        fold: Which of them, from 0.

    Raises:
        SplitError: The source has no such column, or a part it must have is empty.
    """
    if kind == "holdout" and folds:
        part = np.where(make_folds(samples, folds, seed=seed) == fold, "test", "train").astype(object)
        return Split(samples, _carve_validation(samples.cases, part, fractions, seed))
    if kind == "holdout":
        return Split(samples, _holdout(samples.cases, fractions, seed))
    part = samples.cases["split"].to_numpy(object)
    unplaced = sorted(samples.cases.loc[part == "", "case_id"])
    if unplaced:
        raise SplitError(
            f"split {kind}: {len(unplaced)} cases have no split, such as {unplaced[0]}; fill the column or use data.split=holdout"
        )
    if not (part == "validation").any():
        part = _carve_validation(samples.cases, part, fractions, seed)
    return Split(samples, part)


def drop_shared_patients(table: LesionTable, side: str) -> LesionTable:
    """List as exclusions the lesions that patients of both official sides have on one of them (`train` or `test`)."""
    shared = source_leaks(table)
    rows = table.frame["patient_id"].isin(shared) & (table.frame["split"] == side)
    return table.without(rows, f"patient stands in the official training and test files; dropped from {side}")


def source_leaks(table: LesionTable) -> list[str]:
    """List the patients that the source's own split has on two sides."""
    placed = table.frame[table.frame["split"] != ""]
    return patients_on_two_sides(placed["patient_id"], placed["split"].to_numpy(object))


def patients_on_two_sides(patients: pd.Series, part: np.ndarray) -> list[str]:
    """List the patients that stand in more than one part, sorted."""
    pairs = pd.DataFrame({"patient": patients.to_numpy(), "part": part}).drop_duplicates()
    counts = pairs["patient"].value_counts()
    return sorted(counts.index[counts > 1])


def _carve_validation(cases: pd.DataFrame, part: np.ndarray, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """Move some of the training patients to validation; patients that also stand in test move nothing (the audit names them)."""
    training = part == "train"
    share = fractions[1] / (fractions[0] + fractions[1])
    drawn = _holdout(cases[training], (1 - share, share, 0.0), seed)
    part = part.copy()
    part[training] = drawn
    return part


def _holdout(cases: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """Draw parts by patient, stratified by the patient's label (any malignant) and number of cases (one, more)."""
    generator = np.random.default_rng(seed)
    part_of: dict[str, str] = {}
    for patients in _strata(cases):
        order = generator.permutation(len(patients))
        cuts = np.round(np.cumsum(fractions)[:2] * len(patients)).astype(int)
        for part, drawn in zip(PARTS, np.split(order, cuts), strict=True):
            part_of.update((patients[number], part) for number in drawn)
    return cases["patient_id"].map(part_of).to_numpy(object)


def _strata(cases: pd.DataFrame) -> list[list[str]]:
    by_patient = cases.groupby("patient_id")["label"].agg(["max", "size"])
    keys = list(zip(by_patient["max"], by_patient["size"].clip(upper=3), strict=True))
    groups: dict[tuple, list[str]] = {}
    for patient, key in zip(by_patient.index, keys, strict=True):
        groups.setdefault(key, []).append(patient)
    return [sorted(groups[key]) for key in sorted(groups)]


def make_folds(samples: SampleTable, k: int, *, seed: int = 0) -> np.ndarray:
    """Number the fold (0 to k - 1) of each sample: by patient, stratified, seeded.

    Raises:
        SplitError: There are fewer patients than folds.
    """
    if samples.cases["patient_id"].nunique() < k or k < 2:
        raise SplitError(f"folds: expected 2 to {samples.cases['patient_id'].nunique()} (the number of patients), got {k}")
    generator = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    for patients in _strata(samples.cases):
        for number in generator.permutation(len(patients)):
            fold_of[patients[number]] = len(fold_of) % k
    return samples.cases["patient_id"].map(fold_of).to_numpy(int)


def check_trainable(split: Split, batch_size: int) -> None:
    """Refuse a split from which nothing can be learnt or chosen.

    Raises:
        SplitError: A part is empty, training or validation has one class only, or training has fewer cases than a batch.
    """
    faults = []
    for part in PARTS:
        labels = split.samples.cases["label"].to_numpy()[split.rows(part)]
        if len(labels) == 0:
            faults.append(f"part {part} is empty; expected cases of both classes")
        elif part != "test" and len(set(labels)) == 1:
            faults.append(
                f"part {part} has one class only ({len(labels)} cases, all {'malignant' if labels[0] else 'benign'}); expected both"
            )
        elif part == "train" and len(labels) < batch_size:
            faults.append(
                f"part train has {len(labels)} cases, fewer than one batch of {batch_size}; lower training.batch_size or add data"
            )
    if faults:
        raise SplitError(in_one_line("split", faults))
