"""A run folder, and perhaps another data set, in; the judgement of its best network out."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mammo.cases.read import read_cases
from mammo.cases.samples import make_samples
from mammo.errors import DataMissingError, SplitError
from mammo.evaluation.judge import Judgement
from mammo.inference.judge_run import judge_part
from mammo.inference.load import load_run
from mammo.prepare.gather import gather_split, prepare_samples, prepare_split
from mammo.runs import read_split_hash
from mammo.settings import Settings
from mammo.tables import read_table


@dataclass(frozen=True)
class Evaluation:
    """A judgement, the file that holds it, what was judged and what was left out, and what a reader must know of the run.

    `known_patients` of another data set stood in the run's training or validation part: their scores are no test.
    """

    judgement: Judgement
    file: Path
    about: str
    excluded: pd.DataFrame
    known_patients: tuple[str, ...]
    phantom: bool


def evaluate_run(folder: Path, *, manifest: Path | None = None, out: Path | None = None) -> Evaluation:
    """Judge a run's best network on its own test part, or on all of a manifest.

    Args:
        folder: The run.
        manifest: Another data set; None for the run's test part.
        out: Where scores and `report/metrics.json` go; the run folder (and `<run>/<manifest's name>`) where it is not given.

    Raises:
        SplitError: The run's test part is no longer the one it had.
    """
    loaded = load_run(folder)
    settings = loaded.settings
    known: tuple[str, ...] = ()
    if manifest is not None:
        settings = _with_manifest(settings, manifest)
        prepared = prepare_samples(settings, make_samples(read_cases(settings.data), settings.data.task))
        known = _known_patients(folder, prepared.split.samples.cases["patient_id"])
        target = out or folder / manifest.stem
        about = f"{manifest}, all of it, by {folder.name}"
    else:
        prepared = prepare_split(settings, gather_split(settings))
        _check_same_split(folder, prepared.split.sha256)
        target = out or folder
        about = f"{settings.data.kind} test part of {folder.name}"
    target.mkdir(parents=True, exist_ok=True)
    judgement = judge_part(settings, prepared, loaded.network, target, decision=loaded.decision, model_id=folder.name)
    file = target / "report" / "metrics.json"
    return Evaluation(judgement, file, about, prepared.split.samples.excluded, known, loaded.settings.data.kind == "phantom")


def _known_patients(folder: Path, patients: pd.Series) -> tuple[str, ...]:
    split = read_table(folder / "split.csv", "the run's own list of cases", error=DataMissingError)
    if not {"part", "patient_id"} <= set(split):
        raise DataMissingError(f"{folder / 'split.csv'}: is damaged: it has no columns part and patient_id; use another run")
    learnt = set(split.loc[split["part"] != "test", "patient_id"])
    return tuple(sorted(learnt & set(patients)))


def _with_manifest(settings: Settings, manifest: Path) -> Settings:
    """The same preprocessing, other films."""
    data = settings.data.model_copy(update={"kind": "manifest", "manifest": manifest})
    return settings.model_copy(update={"data": data})


def _check_same_split(folder: Path, sha256: str) -> None:
    before = read_split_hash(folder)
    if before != sha256:
        advice = "its own are in split.csv: bring them back, or judge with --data"
        raise SplitError(f"{folder}: the cases or their parts have changed since this run; {advice}")
