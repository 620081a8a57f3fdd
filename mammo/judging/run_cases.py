"""A run's own list of cases, and whether a table of scores is of them. No paddle needed."""

from pathlib import Path

import pandas as pd

from mammo.cases.identity import likely_same
from mammo.cases.splits import SPLIT_COLUMNS, split_sha256
from mammo.cases.table import exclusions, no_exclusions
from mammo.errors import DataMissingError, ScoreError
from mammo.runs import ENVIRONMENT_FILE, read_hash
from mammo.tables import read_table


def read_split(folder: Path) -> pd.DataFrame:
    """Read a run's list of cases: `case_id`, `patient_id`, `label`, `part`, all text.

    Raises:
        DataMissingError: It is gone, or not as the run wrote it.
    """
    split = read_table(folder / "split.csv", "the run's own list of cases", error=DataMissingError)
    if not set(SPLIT_COLUMNS) <= set(split) or split_sha256(split) != read_hash(folder, "split_sha256"):
        raise DataMissingError(
            f"{folder / 'split.csv'}: is not as this run wrote it (its hash is in {ENVIRONMENT_FILE}); use another run"
        )
    return split


def read_warnings(folder: Path) -> pd.DataFrame:
    """Read what a run took with a doubt: `case`, `patient_id`, `reason`; empty for runs of before this was kept.

    Raises:
        DataMissingError: The list is damaged.
    """
    path = folder / "warnings.csv"
    return read_table(path, "the list of warnings", error=DataMissingError) if path.is_file() else no_exclusions()


def check_scored(folder: Path, scores: pd.DataFrame) -> None:
    """Hold that a run's score table has all cases of its test part.

    Raises:
        ScoreError: It has others.
    """
    split = read_split(folder)
    wanted = set(split.loc[split["part"] == "test", "case_id"])
    if set(scores["case_id"]) != wanted:
        raise ScoreError(
            f"{folder / 'scores_test.csv'}: has {len(scores)} cases that are not the {len(wanted)} of the run's test part; "
            f"judge it anew: tools/eval.py --run {folder}"
        )


def known_patients(folders: list[Path], patients: pd.Series) -> tuple[str, ...]:
    """Those of the patients that runs trained or chose on, sorted.

    Raises:
        DataMissingError: A run's list of cases is damaged.
    """
    return tuple(sorted(_learnt(folders) & set(patients)))


def resembling_patients(folders: list[Path], cases: pd.DataFrame) -> pd.DataFrame:
    """Warnings (case, patient_id, reason) about cases whose patient's id is another spelling of one that runs trained or chose on.

    Two data sets may number their patients alike, so this is no proof that they are the same people.

    Raises:
        DataMissingError: A run's list of cases is damaged.
    """
    learnt, here = _learnt(folders), set(cases["patient_id"])
    spelt = {name for group in likely_same(learnt | here) if learnt & set(group) for name in group} - learnt
    found = cases[cases["patient_id"].isin(spelt)]
    return exclusions(
        found["case_id"], found["patient_id"], "patient id is another spelling of one that the run learnt from"
    )


def _learnt(folders: list[Path]) -> set[str]:
    learnt: set[str] = set()
    for folder in folders:
        split = read_split(folder)
        learnt |= set(split.loc[split["part"] != "test", "patient_id"])
    return learnt
