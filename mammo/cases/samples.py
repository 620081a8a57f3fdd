"""A lesion table in, samples out: what is classified under a task (one lesion, one film, or one breast)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from mammo.cases.table import BOX, LesionTable, exclusions, no_exclusions, not_benign

VIEW_ORDER = {"CC": 0, "MLO": 1}
NO_FILM_LABEL = "film has no label, or a lesion without one and none that is malignant"
SUBGROUPS = ("lesion_type", "density", "view", "laterality", "subtlety", "assessment", "source", "pathology")


@dataclass(frozen=True)
class ViewRef:
    """One film of a sample; the box is (x, y, width, height) in the source image's pixels, None where there is none."""

    image: str
    view: str
    box: tuple[float, float, float, float] | None
    mask: str
    crop: str


@dataclass(frozen=True)
class Sample:
    """What is classified: `label` is 1 malignant, 0 not."""

    case_id: str
    patient_id: str
    breast_id: str
    label: int
    views: tuple[ViewRef, ...]


@dataclass(frozen=True)
class SampleTable:
    """Samples in columns: `cases` has a row per sample, `views` a row per film of a sample, with `case` its row number.

    `cases`: case_id, patient_id, breast_id, image_id, label, split, complete, lesions (how many it gathers), mixed (whether
    its film, or breast, holds both classes), unsettled (the finest of image, breast and patient that also
    holds what is malignant or unknown, cases or not; "" for none), and the subgroup columns.
    `views`: case, slot (0 CC, 1 MLO; 0 for single views), image, view, laterality, x, y, width, height, mask, crop.
    `excluded` and `warned`: case, patient_id, reason; what was left out, and what was taken with a doubt.
    """

    task: str
    cases: pd.DataFrame
    views: pd.DataFrame
    excluded: pd.DataFrame
    warned: pd.DataFrame = field(default_factory=no_exclusions)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def slots(self) -> int:
        """How many views a batch has room for."""
        return 2 if self.task == "breast" else 1

    def __getitem__(self, number: int) -> Sample:
        row = self.cases.iloc[number]
        start, stop = self._view_bounds[number], self._view_bounds[number + 1]
        views = tuple(_view_ref(view) for view in self.views.iloc[start:stop].itertuples())
        return Sample(row.case_id, row.patient_id, row.breast_id, int(row.label), views)

    def __iter__(self) -> Iterator[Sample]:
        return (self[number] for number in range(len(self)))

    @cached_property
    def _view_bounds(self) -> np.ndarray:
        return np.searchsorted(self.views["case"].to_numpy(), np.arange(len(self.cases) + 1))

    def keep(self, rows: np.ndarray, reason: str | list[str]) -> "SampleTable":
        """Keep the samples where `rows` (bool, one per sample) is true; the others are listed, under one reason or each its own."""
        gone = self.cases[~rows]
        listed = exclusions(gone["case_id"], gone["patient_id"], reason)
        views = self.views[rows[self.views["case"].to_numpy()]].copy()
        views["case"] = (np.cumsum(rows) - 1)[views["case"].to_numpy()]
        excluded = pd.concat([self.excluded, listed], ignore_index=True)
        cases = self.cases[rows].reset_index(drop=True)
        return replace(self, cases=cases, views=views.reset_index(drop=True), excluded=excluded)

    def warn(self, warned: pd.DataFrame) -> "SampleTable":
        """Add warnings (case, patient_id, reason)."""
        return replace(self, warned=pd.concat([self.warned, warned], ignore_index=True))


def _view_ref(row: object) -> ViewRef:
    box = tuple(float(getattr(row, name)) for name in BOX)
    return ViewRef(row.image, row.view, None if np.isnan(box[0]) else box, row.mask, row.crop)  # type: ignore[attr-defined, arg-type]


def make_samples(table: LesionTable, task: str) -> SampleTable:
    """Gather a lesion table to samples of a task.

    Lesion: one row, one sample; rows without a label, or without box and mask, are listed exclusions. Image: one film,
    its label the maximum of its lesions' (or `image_label`); one with a lesion of unknown label and none that is malignant
    is a listed exclusion. Breast: the CC and MLO films of one side; a breast with one of the two is kept and marked
    (`complete` is False); a second film of the same view is a listed exclusion, but the breast's label is the maximum over
    all its films, a breast of which a film's label is unknown and none is malignant is left out, and so is a film of an
    unknown side.
    """
    frame = table.frame.copy()
    side = frame["laterality"].where(frame["laterality"] != "", "UNKNOWN")
    frame["breast_id"] = frame["patient_id"] + "_" + side
    whole = frame.groupby("breast_id" if task == "breast" else "image_id")
    frame["lesions"] = 1 if task == "lesion" else whole["lesion_id"].transform("size")
    frame["mixed"] = whole["label"].transform("nunique") > 1
    frame["unsettled"] = _unsettled(frame, table.gone)
    if task == "lesion":
        return _lesions(frame, table.excluded).warn(table.warned)
    films, excluded = _films(frame, table.excluded)
    if task == "image":
        return _images(films, excluded).warn(table.warned)
    films, excluded = _without_unknown_breasts(frame, films, excluded)
    return _breasts(films, excluded).warn(table.warned)


def _unsettled(frame: pd.DataFrame, gone: pd.DataFrame) -> pd.Series:
    """The finest level that holds a row which is not benign: where no case of that level is malignant, its label is not known.

    Args:
        frame: All rows, with `breast_id`.
        gone: Rows that were left out before and are not benign either.
    """
    doubt = not_benign(frame)
    side = gone["laterality"].where(gone["laterality"] != "", "UNKNOWN")
    left_out = gone.assign(breast_id=gone["patient_id"] + "_" + side)
    finest = pd.Series("", index=frame.index, dtype=object)
    for level, column in (("patient", "patient_id"), ("breast", "breast_id"), ("image", "image_id")):
        finest[doubt.groupby(frame[column]).transform("any") | frame[column].isin(left_out[column])] = level
    return finest


def _lesions(frame: pd.DataFrame, excluded: pd.DataFrame) -> SampleTable:
    unknown = frame["label"].isna()
    placeless = ~unknown & frame["x"].isna() & (frame["mask"] == "")
    listed = [
        exclusions(frame.loc[rows, "lesion_id"], frame.loc[rows, "patient_id"], reason)
        for rows, reason in (
            (unknown, "lesion has no label of its own"),
            (placeless, "lesion has neither box nor mask"),
        )
    ]
    kept = frame[~unknown & ~placeless].reset_index(drop=True)
    kept = kept.assign(case_id=kept["lesion_id"], complete=True, case=np.arange(len(kept)), slot=0)
    return _table("lesion", kept, kept, pd.concat([excluded, *listed], ignore_index=True))


def _films(frame: pd.DataFrame, excluded: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One row per film, its label the maximum over its lesions; unknown where a lesion's is, and none is malignant."""
    label = frame["image_label"].fillna(frame["label"])
    of_film = label.groupby(frame["image_id"])
    unknown = label.isna().groupby(frame["image_id"]).transform("any")
    label = label.where(of_film.transform("max").eq(1) | ~unknown)
    frame = frame.assign(film_label=label).sort_values(
        ["film_label", "lesion_id"], ascending=[False, True], kind="stable"
    )
    films = frame.drop_duplicates("image_id").sort_values("image_id").assign(label=lambda rows: rows["film_label"])
    unknown = films["label"].isna()
    listed = exclusions(films.loc[unknown, "image_id"], films.loc[unknown, "patient_id"], NO_FILM_LABEL)
    return films[~unknown].reset_index(drop=True), pd.concat([excluded, listed], ignore_index=True)


def _without_unknown_breasts(
    frame: pd.DataFrame, films: pd.DataFrame, excluded: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave out breasts that have a film of unknown label beside benign ones: they may hold a cancer."""
    unknown = set(frame.loc[~frame["image_id"].isin(films["image_id"]), "breast_id"])
    malignant = films.groupby("breast_id")["label"].transform("max").eq(1)
    gone = films["breast_id"].isin(unknown) & ~malignant
    reason = "breast has another film whose label is unknown"
    listed = exclusions(films.loc[gone, "image_id"], films.loc[gone, "patient_id"], reason)
    return films[~gone].reset_index(drop=True), pd.concat([excluded, listed], ignore_index=True)


def _images(films: pd.DataFrame, excluded: pd.DataFrame) -> SampleTable:
    kept = films.assign(case_id=films["image_id"], complete=True, case=np.arange(len(films)), slot=0)
    return _table("image", kept, kept, excluded)


def _breasts(films: pd.DataFrame, excluded: pd.DataFrame) -> SampleTable:
    label_of = films.groupby("breast_id")["label"].max()
    sideless = films["laterality"] == ""
    other = ~sideless & ~films["view"].isin(list(VIEW_ORDER))
    again = ~sideless & ~other & films.duplicated(["breast_id", "view"])
    listed = [
        exclusions(films.loc[rows, "image_id"], films.loc[rows, "patient_id"], reason)
        for rows, reason in (
            (sideless, "film has no laterality"),
            (other, "view is neither CC nor MLO"),
            (again, "a second film of the same view of the breast"),
        )
    ]
    films = films[~sideless & ~other & ~again].assign(slot=lambda rows: rows["view"].map(VIEW_ORDER))
    films = films.sort_values(["breast_id", "slot"]).reset_index(drop=True)
    films["case"] = films.groupby("breast_id", sort=False).ngroup()
    cases = films.drop_duplicates("case").reset_index(drop=True)
    cases = cases.assign(
        case_id=cases["breast_id"], image_id=cases["breast_id"], label=label_of[cases["breast_id"]].to_numpy(), view=""
    )
    cases["complete"] = films.groupby("case").size().to_numpy() == len(VIEW_ORDER)
    return _table("breast", cases, films, pd.concat([excluded, *listed], ignore_index=True))


def _table(task: str, cases: pd.DataFrame, views: pd.DataFrame, excluded: pd.DataFrame) -> SampleTable:
    columns = [
        "case_id",
        "patient_id",
        "breast_id",
        "image_id",
        "label",
        "split",
        "complete",
        "lesions",
        "mixed",
        "unsettled",
        *SUBGROUPS,
    ]
    return SampleTable(
        task,
        cases[columns].astype({"label": int}).reset_index(drop=True),
        views[["case", "slot", "image", "view", "laterality", *BOX, "mask", "crop"]].reset_index(drop=True),
        excluded.reset_index(drop=True),
    )
