"""Finds the files of the series that CBIS-DDSM's CSVs name, in any folder tree of a download."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd

from mammo.cases.cbis_ddsm import WHERE_TO_GET
from mammo.cases.table import CANDIDATE_SEPARATOR, LesionTable
from mammo.errors import DataMissingError, ImageError
from mammo.files import walk_files
from mammo.images.decode import readers
from mammo.progress import track

logger = logging.getLogger(__name__)
UID = re.compile(r"\d+(?:\.\d+){6,}")
IMAGE_ENDINGS = {".dcm", ".jpg", ".jpeg", ".png", ""}
MOST_NAMED = 5


def locate_files(
    table: LesionTable, root: Path, *, missing: str = "refuse", need_masks: bool = True, untrusted: bool = False
) -> LesionTable:
    """Replace the CSVs' paths by files.

    A path is `PatientID-folder/StudyInstanceUID/SeriesInstanceUID/file`. The TCIA and Imaging Data Commons downloads
    have the series' UID in a folder's name or only in the headers; Kaggle's JPEG tree names its folders by it.

    Args:
        table: From `read_official_csvs`.
        root: The folder of the data set, which is searched with all its subfolders.
        missing: `refuse` or `exclude` lesions whose film or mask is missing.
        need_masks: Whether a lesion without the files of its mask counts as missing.
        untrusted: Read headers in a process of its own.

    Returns:
        The table with `image` a file and `mask` all files of the crop's and the mask's series, joined by
        `CANDIDATE_SEPARATOR`; only their content shows which is the mask.

    Raises:
        DataMissingError: Films are missing (all, or some while `missing` is `refuse`).
    """
    frame = table.frame.copy()
    series = {column: frame[column].map(_series_of) for column in ("image", "crop", "mask")}
    wanted = set(pd.concat(list(series.values())))
    found = index_series(root, wanted, untrusted=untrusted)
    films = series["image"].map(lambda uid: _film(found.get(uid, [])))
    both = zip(series["crop"], series["mask"], strict=True)
    frame["mask"] = [_candidates(found.get(crop, []) + found.get(mask, [])) for crop, mask in both]
    absent = (films == "") | (frame["mask"] == "") if need_masks else films == ""
    if absent.all() or (absent.any() and missing == "refuse"):
        what = f"{absent.sum()} of {len(frame)} lesions have no film or no mask there"
        example = table.frame.loc[absent, "image"].iloc[0]
        raise DataMissingError(f"{root}: {what}, such as {example}; {_advice(root, absent)}")
    frame["image"] = films
    frame["crop"] = ""
    return replace(table, frame=frame).without(absent, "film or mask is not on the disk")


def _advice(root: Path, absent: pd.Series) -> str:
    """Say what to do about missing films; only a user without any is sent to the whole data set."""
    if not absent.all():
        return "fetch these series again, or data.bad_images=exclude lists them and continues"
    images = sum(is_image_name(file.name) and file.suffix != "" for file in walk_files(root, unreadable=[]))
    if not images:
        return WHERE_TO_GET
    return (
        f"{images} image files are below it, but the series' UIDs are neither in folder names nor in DICOM headers; "
        "keep the tree as it was downloaded, or write a manifest (data.kind=manifest)"
    )


def index_series(root: Path, wanted: set[str], *, untrusted: bool = False) -> dict[str, list[Path]]:
    """Find the image files of each wanted series: by folder name, or else by their headers.

    Files that are not DICOM (licences, thumbnails, lists) are skipped; damaged ones are logged.
    """
    by_folder: dict[Path, list[Path]] = {}
    unreadable: list[OSError] = []
    for file in walk_files(root, unreadable=unreadable):
        if is_image_name(file.name):
            by_folder.setdefault(file.parent, []).append(file)
    if unreadable:
        what = "%d folders may not be read and are skipped, such as %s"
        logger.warning(what, len(unreadable), unreadable[0].filename)
    found: dict[str, list[Path]] = {}
    nameless: list[list[Path]] = []
    for folder, files in by_folder.items():
        known = [uid for uid in UID.findall(folder.name) if uid in wanted]
        if known:
            found.setdefault(known[-1], []).extend(files)
        else:
            nameless.append([file for file in files if file.suffix.lower() in {".dcm", ""}])
    read, damaged = readers(untrusted=untrusted), []
    for files in track(nameless, len(nameless), "reading series from headers"):
        for file in files:
            try:
                uid = read.series_uid(file)
            except ImageError as error:
                damaged.append(error)
                continue
            if uid in wanted:
                found.setdefault(uid, []).append(file)
    if damaged:
        few = "; ".join(map(str, damaged[:MOST_NAMED]))
        logger.warning("%d files have no readable series and are skipped, such as %s", len(damaged), few)
    return found


def is_image_name(name: str) -> bool:
    """Whether a file may be an image by its name; hidden files such as `.DS_Store` are not."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_ENDINGS


def _series_of(path: str) -> str:
    parts = path.split("/")
    return parts[-2] if len(parts) >= 2 else ""


def _film(files: list[Path]) -> str:
    return str(max(files, key=lambda file: file.stat().st_size)) if files else ""


def _candidates(files: list[Path]) -> str:
    return CANDIDATE_SEPARATOR.join(sorted(set(map(str, files))))
