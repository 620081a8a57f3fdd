"""Gives samples their part (train, validation or test) or their fold, with each patient in one of them only."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mammo.cases.samples import SampleTable, make_samples
from mammo.cases.table import LesionTable, exclusions, no_exclusions
from mammo.errors import SplitError, in_one_line
from mammo.settings.schema import DataSettings

PARTS = ("train", "validation", "test")
CLASSES = ("benign", "malignant")
SPLIT_COLUMNS = ("case_id", "patient_id", "label", "part")


@dataclass(frozen=True)
class Split:
    """Samples and the part of each, in the same order; cases that a rule drops are in the samples' exclusions.

    `source_leaks` names the patients that the source's own split has on two sides, if that split is used: it can no
    longer be seen once lesions are grouped to films or breasts.
    """

    samples: SampleTable
    part: np.ndarray
    source_leaks: tuple[str, ...] = ()

    def rows(self, part: str) -> np.ndarray:
        """Return the row numbers of a part's cases."""
        return np.flatnonzero(self.part == part)

    def frame(self) -> pd.DataFrame:
        """Return the table that a run folder keeps as `split.csv`."""
        return self.samples.cases[["case_id", "patient_id", "label"]].assign(part=self.part)

    @property
    def sha256(self) -> str:
        """`split_sha256` of the cases and their parts."""
        return split_sha256(self.frame())


def split_sha256(frame: pd.DataFrame) -> str:
    """Return a hash of the rows of `split.csv`, independent of their order."""
    rows = frame[list(SPLIT_COLUMNS)].itertuples(index=False)
    lines = sorted(f"{case}\t{patient}\t{label}\t{part}" for case, patient, label, part in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def split_lesions(table: LesionTable, data: DataSettings) -> Split:
    """Make the samples of the settings' task from lesions, and give each a part.

    Raises:
        SplitError: The source has no such split.
    """
    if data.split == "official_clean":
        shared, side = source_leaks(table), data.clean_from
        rows = table.frame["patient_id"].isin(shared) & (table.frame["split"] == side)
        table = table.without(rows, f"patient is in the official training and test files; dropped from {side}")
    split = make_split(make_samples(table, data.task), data)
    if data.split != "all":
        split = replace(split, samples=split.samples.warn(_one_class_test(split)))
    return split if data.split in ("holdout", "all") else replace(split, source_leaks=tuple(source_leaks(table)))


def _one_class_test(split: Split) -> pd.DataFrame:
    """Warn if the test part has one class only: half of all metrics then have no value."""
    labels = set(split.samples.cases["label"].to_numpy()[split.rows("test")])
    if len(labels) != 1:
        return no_exclusions()
    absent = 1 - int(labels.pop())
    return exclusions(["test part"], [""], f"part test has no {CLASSES[absent]} case{_needed(split, absent)}")


def make_split(samples: SampleTable, data: DataSettings) -> Split:
    """Give every sample a part.

    The parts are the source's own (`split` official, official_clean or manifest), drawn by patient, seeded and
    stratified (holdout), or the patients of one fold for test and the others for train (holdout with `folds`), or train
    for all. Without a validation part, one is drawn: validation / (train + validation) of the training patients.

    Raises:
        SplitError: Cases have no value in the split column.
    """
    cases = samples.cases
    if data.split == "all":
        return Split(samples, np.full(len(samples), "train", object))
    if data.split == "holdout" and not data.folds:
        return Split(samples, _holdout(cases, data.fractions, data.split_seed))
    if data.split == "holdout":
        fold = make_folds(samples, data.folds, seed=data.split_seed)
        part = np.where(fold == data.fold, "test", "train").astype(object)
    else:
        part = cases["split"].to_numpy(object)
    unplaced = sorted(cases.loc[part == "", "case_id"])
    if unplaced:
        what = f"{len(unplaced)} cases have no split, such as {unplaced[0]}"
        raise SplitError(f"split {data.split}: {what}; fill the column or use data.split=holdout")
    if (part == "validation").any():
        return Split(samples, part)
    training = part == "train"
    share = data.fractions[1] / (data.fractions[0] + data.fractions[1])
    part = part.copy()
    part[training] = _holdout(cases[training], (1 - share, share, 0.0), data.split_seed)
    return Split(samples, part)


def source_leaks(table: LesionTable) -> list[str]:
    """List the patients that the source's own split has on two sides."""
    placed = table.frame[table.frame["split"] != ""]
    return patients_on_two_sides(placed["patient_id"], placed["split"].to_numpy(object))


def patients_on_two_sides(patients: pd.Series, part: np.ndarray) -> list[str]:
    """List the patients that are in more than one part, sorted."""
    spread = pd.Series(part).groupby(patients.to_numpy()).nunique()
    return sorted(spread.index[spread > 1])


def _holdout(cases: pd.DataFrame, fractions: tuple[float, float, float], seed: int) -> np.ndarray:
    """Draw parts by patient, stratified by the patient's label (any malignant) and number of cases (one, two, more).

    Each stratum is divided by itself. If a part then has less than half of its share of a class, as in small data sets,
    the strata of that class are divided together.
    """
    generator = np.random.default_rng(seed)
    part_of: dict[str, str] = {}
    drawn_by_class: dict[int, list[str]] = {}
    for label, patients in _strata(cases):
        drawn = [patients[number] for number in generator.permutation(len(patients))]
        cuts = np.round(np.cumsum(fractions)[:2] * len(patients)).astype(int)
        for part, names in zip(PARTS, np.split(np.array(drawn, object), cuts), strict=True):
            part_of.update((name, part) for name in names)
        drawn_by_class.setdefault(label, []).extend(drawn)
    for patients in drawn_by_class.values():
        wanted = _shares(len(patients), fractions)
        got = [sum(part_of[name] == part for name in patients) for part in PARTS]
        if any(2 * have < want for have, want in zip(got, wanted, strict=True)):
            part_of.update(zip(patients, _dealt(wanted), strict=True))
    return cases["patient_id"].map(part_of).to_numpy(object)


def _shares(count: int, fractions: tuple[float, float, float]) -> list[int]:
    """Return the number of patients of each part: the nearest whole numbers, but at least one if there are enough.

    Training and validation come first: without both classes in them, a model cannot be trained or chosen.
    """
    exact = [count * fraction for fraction in fractions]
    shares = [int(number) for number in exact]
    for number in sorted(range(3), key=lambda part: shares[part] - exact[part])[: count - sum(shares)]:
        shares[number] += 1
    for number in (number for number in range(3) if fractions[number] > 0 and shares[number] == 0):
        most = int(np.argmax(shares))
        if shares[most] > 1:
            shares[most] -= 1
            shares[number] += 1
    return shares


def _dealt(wanted: list[int]) -> list[str]:
    """Return the part of each patient in order, with each part spread over the order as evenly as possible."""
    places = [((number + 0.5) / want, part) for part, want in enumerate(wanted) for number in range(want)]
    return [PARTS[part] for _, part in sorted(places)]


def _strata(cases: pd.DataFrame) -> list[tuple[int, list[str]]]:
    """Return (label, patients) of each stratum, in order."""
    by_patient = cases.groupby("patient_id")["label"].agg(["max", "size"])
    strata = by_patient.groupby([by_patient["max"], by_patient["size"].clip(upper=3)])
    return [(int(patients["max"].iloc[0]), sorted(patients.index)) for _, patients in strata]


def make_folds(samples: SampleTable, k: int, *, seed: int = 0) -> np.ndarray:
    """Return the fold (0 to k - 1) of each sample: by patient, stratified, seeded.

    Raises:
        SplitError: There are fewer patients than folds.
    """
    patients = samples.cases["patient_id"].nunique()
    if not 2 <= k <= patients:
        raise SplitError(f"folds: expected 2 to {patients} (the number of patients), got {k}")
    generator = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    for _, names in _strata(samples.cases):
        for number in generator.permutation(len(names)):
            fold_of[names[number]] = len(fold_of) % k
    return samples.cases["patient_id"].map(fold_of).to_numpy(int)


def _needed(split: Split, label: int) -> str:
    """Say how many patients of a class there are, and how many are needed."""
    cases = split.samples.cases
    having = cases.loc[cases["label"] == label, "patient_id"].nunique()
    return f" (each part needs a patient with a {CLASSES[label]} case; there are {having} such patients in all)"


def check_trainable(split: Split, batch_size: int, *, on_all: bool = False) -> None:
    """Refuse a split on which a model cannot be trained or chosen; `on_all` needs no part but train.

    Raises:
        SplitError: A part is empty, training or validation has one class only, or training has less than a batch.
    """
    errors = []
    for part in PARTS[:1] if on_all else PARTS:
        labels = split.samples.cases["label"].to_numpy()[split.rows(part)]
        if len(labels) == 0:
            errors.append(f"part {part} is empty; expected cases of both classes")
        elif part != "test" and len(set(labels)) == 1:
            what = f"has one class only ({len(labels)} cases, all {CLASSES[labels[0]]})"
            errors.append(f"part {part} {what}; expected both{_needed(split, 1 - labels[0])}")
        elif part == "train" and len(labels) < batch_size:
            what = f"has {len(labels)} cases, fewer than one batch of {batch_size}"
            errors.append(f"part train {what}; lower training.batch_size or add data")
    if errors:
        raise SplitError(in_one_line("split", errors))
