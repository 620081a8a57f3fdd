"""Describes what was judged, writes it, and reads and copies a run's own lists of cases. No paddle needed."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from mammo.cases.audit import likely_same
from mammo.cases.splits import SPLIT_COLUMNS, split_sha256
from mammo.cases.table import exclusions, no_exclusions
from mammo.errors import DataMissingError, ScoreError
from mammo.evaluation.judge import Judgement
from mammo.files import write_json, write_text
from mammo.prepare.gather import PreparedSplit
from mammo.prepare.readers import words_of
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE, read_hash
from mammo.settings.load import dump_settings
from mammo.settings.schema import Settings
from mammo.tables import read_table

RUN_FILES = (ENVIRONMENT_FILE, "split.csv", "excluded.csv", "warnings.csv", "log.jsonl")


@dataclass(frozen=True)
class Judged:
    """A judgement and what a reader must know of it.

    Attributes:
        out: The folder of `report/`.
        about: What was judged, in words.
        judgement: The judgement; of a cross-validation, that of the pooled scores.
        scores: The score table.
        run: The run folder of the network; None for scores from outside.
        settings: The run's settings; None as well.
        prepared: The films; None where there are none.
        excluded: Cases that were left out (case, patient_id, reason).
        warned: Cases that were judged with a warning (case, patient_id, reason).
        known_patients: Patients of another data set whom the run trained or chose on; they are no independent test.
        folds: The judgements of a cross-validation's folds.
    """

    out: Path
    about: str
    judgement: Judgement
    scores: pd.DataFrame
    run: Path | None = None
    settings: Settings | None = None
    prepared: PreparedSplit | None = None
    excluded: pd.DataFrame = field(default_factory=no_exclusions)
    warned: pd.DataFrame = field(default_factory=no_exclusions)
    known_patients: tuple[str, ...] = ()
    folds: tuple[Judgement, ...] = ()

    @property
    def phantom(self) -> bool:
        """Whether the films are generated."""
        return self.settings is not None and words_of(self.settings.data.kind).generated

    @property
    def file(self) -> Path:
        """The judgement as JSON."""
        return metrics_file(self.out)


def metrics_file(folder: Path) -> Path:
    """Where the judgement of a folder is kept."""
    return folder / "report" / "metrics.json"


def write_judgement(judgement: Judgement, folder: Path, *, more: dict[str, object] | None = None) -> None:
    """Write a judgement, and `more` after it, as `report/metrics.json` of a folder."""
    path = metrics_file(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, judgement.as_json() | (more or {}))


def read_split(folder: Path) -> pd.DataFrame:
    """Read a run's list of cases: `case_id`, `patient_id`, `label`, `part`, all text.

    Raises:
        DataMissingError: The list is missing, or not as the run wrote it.
    """
    split = read_table(folder / "split.csv", "the run's own list of cases", error=DataMissingError)
    if not set(SPLIT_COLUMNS) <= set(split) or split_sha256(split) != read_hash(folder, "split_sha256"):
        changed = f"is not as this run wrote it (its hash is in {ENVIRONMENT_FILE})"
        raise DataMissingError(f"{folder / 'split.csv'}: {changed}; use another run")
    return split


def read_exclusions(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read which cases a run left out, and which it used with a warning: `case`, `patient_id`, `reason` each.

    Raises:
        DataMissingError: A list is damaged, or the first is missing; old runs have no list of warnings.
    """
    excluded = read_table(folder / "excluded.csv", "the list of excluded cases", error=DataMissingError)
    path = folder / "warnings.csv"
    if not path.is_file():
        return excluded, no_exclusions()
    return excluded, read_table(path, "the list of warnings", error=DataMissingError)


def check_scored(folder: Path, scores: pd.DataFrame, *, split: pd.DataFrame | None = None) -> None:
    """Raise ScoreError if a run's score table has other cases than its test part; `split` is its list of cases."""
    split = read_split(folder) if split is None else split
    expected = set(split.loc[split["part"] == "test", "case_id"])
    if set(scores["case_id"]) != expected:
        problem = f"has {len(scores)} cases that are not the {len(expected)} of the run's test part"
        raise ScoreError(f"{folder / 'scores_test.csv'}: {problem}; judge it again: mammo eval --run {folder}")


def find_known_patients(folders: list[Path], cases: pd.DataFrame) -> tuple[tuple[str, ...], pd.DataFrame]:
    """Find the patients of other data (`case_id`, `patient_id`) that runs trained or chose on.

    Returns:
        Their ids, sorted, and warnings (case, patient_id, reason) about cases whose patient id is another spelling of
        one that a run learnt from. Two data sets may number their patients alike, so this does not prove that they are
        the same people.

    Raises:
        DataMissingError: A run's list of cases is damaged.
    """
    learnt: set[str] = set()
    for folder in folders:
        split = read_split(folder)
        learnt |= set(split.loc[split["part"] != "test", "patient_id"])
    here = set(cases["patient_id"])
    alike = {name for group in likely_same(learnt | here) if learnt & set(group) for name in group} - learnt
    found = cases[cases["patient_id"].isin(alike)]
    reason = "patient id is another spelling of one that the run learnt from"
    return tuple(sorted(learnt & here)), exclusions(found["case_id"], found["patient_id"], reason)


def copy_run_files(folder: Path, out: Path, settings: Settings, *, names: tuple[str, ...] = RUN_FILES) -> None:
    """Write settings, and copy lists of cases, log and environment, to a folder that can then be used as a run."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / CONFIG_FILE, dump_settings(settings))
    for name in names:
        if (folder / name).is_file():
            (out / name).write_bytes((folder / name).read_bytes())
