"""Leaves out of a lesion table what the settings do not ask for, as listed exclusions."""

import pandas as pd

from mammo.cases.table import LesionTable
from mammo.settings.schema import DataSettings


def select_lesions(table: LesionTable, data: DataSettings) -> LesionTable:
    """Return the table without unwanted lesion types, and without BENIGN_WITHOUT_CALLBACK where settings say so."""
    table = table.without(_unwanted(table, data), "lesion type is not in data.lesion_types")
    if data.benign_without_callback == "exclude":
        no_callback = table.frame["pathology"] == "BENIGN_WITHOUT_CALLBACK"
        table = table.without(no_callback, "BENIGN_WITHOUT_CALLBACK, which settings leave out")
    return table


def _unwanted(table: LesionTable, data: DataSettings) -> pd.Series:
    """Mark rows of other lesion types; where films are judged, only those on films that have no wanted lesion."""
    wanted = (table.frame["lesion_type"] == "") | table.frame["lesion_type"].isin(data.lesion_types)
    return ~wanted if data.task == "lesion" else ~wanted.groupby(table.frame["image_id"]).transform("any")
