"""Settings in, lesion table out, with the exclusions that settings ask for; where `data.kind` chooses the reader."""

from pathlib import Path

import pandas as pd

from mammo.cases.cbis_ddsm import read_official_csvs
from mammo.cases.manifest import read_manifest
from mammo.cases.table import LesionTable
from mammo.errors import CaseError
from mammo.settings.schema import DataSettings


def read_cases(data: DataSettings, root: Path | None = None) -> LesionTable:
    """Read the data set that settings name.

    Args:
        data: The settings.
        root: The folder of a data set of the official form; `data.root` where it is not given.

    Raises:
        DataMissingError: It is not there.
        CaseError: Its tables break their contract.
    """
    if data.kind == "manifest":
        table = read_manifest(Path(data.manifest or ""))
    else:
        # Films are labelled by all their lesions, so task image and breast need both types' files.
        official = ("mass", "calcification")
        wanted = tuple(kind for kind in official if kind in data.lesion_types) if data.task == "lesion" else official
        if not wanted:
            raise CaseError(
                f"data.lesion_types: CBIS-DDSM has {' and '.join(official)} alone, got {', '.join(data.lesion_types)}"
            )
        table = read_official_csvs(Path(root or data.root or ""), wanted)
    table = table.without(_unwanted(table, data), "lesion type is not in data.lesion_types")
    if data.benign_without_callback == "exclude":
        table = table.without(
            table.frame["pathology"] == "BENIGN_WITHOUT_CALLBACK", "BENIGN_WITHOUT_CALLBACK, which settings leave out"
        )
    return table


def _unwanted(table: LesionTable, data: DataSettings) -> pd.Series:
    """Rows of other lesion types; under tasks that judge films, only those on films that have no wanted lesion at all."""
    wanted = (table.frame["lesion_type"] == "") | table.frame["lesion_type"].isin(data.lesion_types)
    return ~wanted if data.task == "lesion" else ~wanted.groupby(table.frame["image_id"]).transform("any")
