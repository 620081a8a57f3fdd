"""Makes the samples of a task from a lesion table: one lesion, one film or one breast each."""

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from mammo.cases.findings import TWO_LABELS, finding_of, label_warnings, two_labels
from mammo.cases.table import BOX, LesionTable, exclusions, no_exclusions, not_benign
from mammo.errors import CaseError
from mammo.settings.types import CROPPED, PAIRED

VIEW_ORDER = {"CC": 0, "MLO": 1}
NO_FILM_LABEL = "film has no label, or a lesion without one and none that is malignant"
SUBGROUPS = ("lesion_type", "density", "view", "laterality", "subtlety", "assessment", "source", "pathology")
DESCRIPTORS = ("shape", "margins")


@dataclass(frozen=True)
class SampleTable:
    """Samples in columns: `cases` has a row per sample, `views` a row per film of a sample.

    `cases`: case_id, finding_id ("" for films and breasts), patient_id, breast_id, image_id, label (1 malignant, 0
    benign), split, complete, lesions (their number), mixed (whether its film or breast has both classes), unsettled
    (the finest of image, breast and patient that has another row that is malignant or unknown, also one without a case;
    "" for none), `DESCRIPTORS`, and `SUBGROUPS`: of a finding, film or breast those of one of its lesions, but the
    highest `assessment`, NaN where that of a lesion is unknown.
    `views`: case (a row number of `cases`), slot (0 CC, 1 MLO; 0 for single views), image, view, laterality,
    pixel_aspect, the box x, y, width, height in the source image's pixels (NaN for none), mask, crop.
    `excluded` and `warned`: case, patient_id, reason; what was left out, and what was kept with a warning.
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
        """The number of views per sample of a batch."""
        return len(VIEW_ORDER) if self.task in PAIRED else 1

    def keep(self, rows: np.ndarray, reason: str | list[str]) -> "SampleTable":
        """Keep the samples where `rows` (bool, one per sample) is true; list the others as exclusions.

        `reason` is one text, or one per excluded sample.
        """
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


def make_samples(table: LesionTable, task: str) -> SampleTable:
    """Make the samples of a task from a lesion table. What is left out is listed as an exclusion.

    Lesion: each row is a sample. A row without a label, or without box and mask, is left out.
    Image: each film is a sample; its label is the maximum of its lesions' labels (or `image_label`). A film with a
    lesion of unknown label and no malignant one is left out.
    Finding: the lesions of one finding in CC and MLO are a sample; the first row of a view counts. A finding with one
    view is kept and marked (`complete` is False). A finding whose views have two labels is left out.
    Breast: the CC and MLO films of one side are a sample; its label is the maximum of all its films' labels. A breast
    with one of the two views is kept and marked (`complete` is False). A breast with a film of unknown label and no
    malignant one is left out, and so is a second film of the same view, or one of an unknown side.

    Raises:
        CaseError: The task is finding, and no row has a `finding_id`.
    """
    frame = table.frame.copy()
    frame["breast_id"] = _breast_id(frame)
    joined = (frame["finding_id"] != "").any()
    if task == "finding" and not joined:
        raise CaseError("task finding: no row has a finding_id, which joins the views of a finding; add that column")
    frame["finding_id"] = finding_of(frame) if task in CROPPED and joined else ""
    unit = {"finding": "finding_id", "breast": "breast_id"}.get(task, "image_id")
    whole = frame.groupby("breast_id" if task == "breast" else "image_id")
    if task != "lesion":
        highest = frame["assessment"].fillna(np.inf).groupby(frame[unit]).transform("max")
        frame["assessment"] = highest.replace(np.inf, np.nan)  # what is unknown could be the highest
    frame["lesions"] = 1 if task in CROPPED else whole["lesion_id"].transform("size")
    frame["mixed"] = whole["label"].transform("nunique") > 1
    frame["unsettled"] = _unsettled(frame, table.gone)
    if task == "lesion":
        return _lesions(frame, table.excluded)
    if task == "finding":
        return _findings(frame, table.excluded)
    films, excluded = _films(frame, table.excluded)
    if task == "image":
        films = films.assign(case_id=films["image_id"], complete=True, case=np.arange(len(films)), slot=0)
        return _table("image", films, films, excluded)
    films, excluded = _without_unknown_breasts(frame, films, excluded)
    return _breasts(films, excluded)


def _breast_id(frame: pd.DataFrame) -> pd.Series:
    return frame["patient_id"] + "_" + frame["laterality"].where(frame["laterality"] != "", "UNKNOWN")


def _unsettled(frame: pd.DataFrame, gone: pd.DataFrame) -> pd.Series:
    """Return the finest level that has a row which is not benign.

    If no case of that level is malignant, the level's label is not known.

    Args:
        frame: All rows, with `breast_id`.
        gone: Rows that were left out before and are not benign either.
    """
    doubt = not_benign(frame)
    left_out = gone.assign(breast_id=_breast_id(gone))
    finest = pd.Series("", index=frame.index, dtype=object)
    for level, column in (("patient", "patient_id"), ("breast", "breast_id"), ("image", "image_id")):
        finest[doubt.groupby(frame[column]).transform("any") | frame[column].isin(left_out[column])] = level
    return finest


def _lesions(frame: pd.DataFrame, excluded: pd.DataFrame) -> SampleTable:
    kept, excluded = _with_label_and_place(frame, excluded)
    kept = kept.assign(case_id=kept["lesion_id"], complete=True, case=np.arange(len(kept)), slot=0)
    return _table("lesion", kept, kept, excluded).warn(label_warnings(kept))


def _with_label_and_place(frame: pd.DataFrame, excluded: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    unknown = frame["label"].isna()
    placeless = ~unknown & frame["x"].isna() & (frame["mask"] == "")
    reasons = ((unknown, "lesion has no label of its own"), (placeless, "lesion has neither box nor mask"))
    excluded = _listed(excluded, frame, "lesion_id", *reasons)
    return frame[~unknown & ~placeless].reset_index(drop=True), excluded


def _findings(frame: pd.DataFrame, excluded: pd.DataFrame) -> SampleTable:
    frame, excluded = _with_label_and_place(frame, excluded)
    contradicting = two_labels(frame)
    excluded = _listed(excluded, frame, "lesion_id", (contradicting, TWO_LABELS))
    views, excluded = _one_film_a_view(frame[~contradicting], excluded, "finding", "lesion_id")
    cases = views.drop_duplicates("case").reset_index(drop=True)
    cases = cases.assign(case_id=cases["finding_id"], image_id=cases["finding_id"], view="")
    cases["complete"] = views.groupby("case").size().to_numpy() == len(VIEW_ORDER)
    return _table("finding", cases, views, excluded)


def _one_film_a_view(
    rows: pd.DataFrame, excluded: pd.DataFrame, whole: str, listed: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Keep one row for CC and one for MLO of each `whole` (breast or finding), with their `slot` and `case`.

    The others are listed as exclusions by their column `listed`.
    """
    other = ~rows["view"].isin(list(VIEW_ORDER))
    again = ~other & rows.duplicated([f"{whole}_id", "view"])
    reasons = ((other, "view is neither CC nor MLO"), (again, f"a second film of the same view of the {whole}"))
    excluded = _listed(excluded, rows, listed, *reasons)
    rows = rows[~other & ~again].assign(slot=lambda kept: kept["view"].map(VIEW_ORDER))
    rows = rows.sort_values([f"{whole}_id", "slot"]).reset_index(drop=True)
    rows["case"] = rows.groupby(f"{whole}_id", sort=False).ngroup()
    return rows, excluded


def _listed(excluded: pd.DataFrame, frame: pd.DataFrame, column: str, *reasons: tuple[pd.Series, str]) -> pd.DataFrame:
    """Add to the exclusions, for each reason, the rows (bool) that it applies to, named by `column`."""
    more = [exclusions(frame.loc[rows, column], frame.loc[rows, "patient_id"], reason) for rows, reason in reasons]
    return pd.concat([excluded, *more], ignore_index=True)


def _films(frame: pd.DataFrame, excluded: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Make one row per film; its label is the maximum over its lesions, or unknown if one is and none is malignant."""
    label = frame["image_label"].fillna(frame["label"])
    of_film = label.groupby(frame["image_id"])
    unknown = label.isna().groupby(frame["image_id"]).transform("any")
    label = label.where(of_film.transform("max").eq(1) | ~unknown)
    frame = frame.assign(film_label=label).sort_values(
        ["film_label", "lesion_id"], ascending=[False, True], kind="stable"
    )
    films = frame.drop_duplicates("image_id").sort_values("image_id").assign(label=lambda rows: rows["film_label"])
    unknown = films["label"].isna()
    return films[~unknown].reset_index(drop=True), _listed(excluded, films, "image_id", (unknown, NO_FILM_LABEL))


def _without_unknown_breasts(
    frame: pd.DataFrame, films: pd.DataFrame, excluded: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Leave out breasts with a film of unknown label and no malignant one: they may have a cancer."""
    unknown = set(frame.loc[~frame["image_id"].isin(films["image_id"]), "breast_id"])
    malignant = films.groupby("breast_id")["label"].transform("max").eq(1)
    gone = films["breast_id"].isin(unknown) & ~malignant
    reason = "breast has another film whose label is unknown"
    return films[~gone].reset_index(drop=True), _listed(excluded, films, "image_id", (gone, reason))


def _breasts(films: pd.DataFrame, excluded: pd.DataFrame) -> SampleTable:
    label_of = films.groupby("breast_id")["label"].max()
    sideless = films["laterality"] == ""
    excluded = _listed(excluded, films, "image_id", (sideless, "film has no laterality"))
    films, excluded = _one_film_a_view(films[~sideless], excluded, "breast", "image_id")
    cases = films.drop_duplicates("case").reset_index(drop=True)
    ids = cases["breast_id"]
    cases = cases.assign(case_id=ids, image_id=ids, label=label_of[ids].to_numpy(), view="")
    cases["complete"] = films.groupby("case").size().to_numpy() == len(VIEW_ORDER)
    return _table("breast", cases, films, excluded)


def _table(task: str, cases: pd.DataFrame, views: pd.DataFrame, excluded: pd.DataFrame) -> SampleTable:
    columns = ["case_id", "finding_id", "patient_id", "breast_id", "image_id", "label", "split", "complete", "lesions"]
    columns += ["mixed", "unsettled", *SUBGROUPS, *DESCRIPTORS]
    return SampleTable(
        task,
        cases[columns].astype({"label": int}).reset_index(drop=True),
        views[["case", "slot", "image", "view", "laterality", "pixel_aspect", *BOX, "mask", "crop"]].reset_index(
            drop=True
        ),
        excluded.reset_index(drop=True),
    )
