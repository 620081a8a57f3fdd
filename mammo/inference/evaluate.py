"""A run folder, and perhaps another data set, in; the judgement of its best network out."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mammo.cases.read import read_cases
from mammo.cases.samples import make_samples
from mammo.config import dump_settings
from mammo.errors import DataMissingError, SettingsError, SplitError
from mammo.files import write_text
from mammo.inference.judge_run import decide, judge_part
from mammo.inference.judged import Judged
from mammo.inference.load import load_run
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_samples, prepare_split
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE, check_out, read_hash, writing
from mammo.settings import Settings
from mammo.tables import read_table

RUN_FILES = (ENVIRONMENT_FILE, "split.csv", "excluded.csv", "log.jsonl")


def evaluate_run(folder: Path, *, manifest: Path | None = None, out: Path | None = None, overrides: Sequence[str] = ()) -> Judged:
    """Judge a run's best network on its own test part, or on all of a manifest.

    Args:
        folder: The run.
        manifest: Another data set; None for the run's test part.
        out: Where scores and `report/` go; the run folder, or `<run>/<its folder>_<its name>` for a manifest, where it is not given.
        overrides: Of `evaluation.…`: thresholds and calibration are then chosen anew, on validation, and kept in `out`.

    Raises:
        SplitError: The run's cases, parts or films are no longer those it had.
        InUseError: Another process writes there.
        SettingsError: An override has another key, or no `out` to go to.
    """
    _check_overrides(overrides, out)
    if out is not None:
        check_out(out, None if overrides or manifest else folder)
    target = out or (folder / f"{manifest.resolve().parent.name}_{manifest.stem}" if manifest else folder)
    target.mkdir(parents=True, exist_ok=True)
    with writing(target):
        return _evaluate(folder, target, manifest, overrides)


def _evaluate(folder: Path, target: Path, manifest: Path | None, overrides: Sequence[str]) -> Judged:
    loaded = load_run(folder, overrides)
    settings, decision = loaded.settings, loaded.decision
    known: tuple[str, ...] = ()
    if overrides or manifest is None:
        prepared = prepare_split(settings, gather_split(settings))
        _check_same_data(folder, prepared)
        about = f"{folder.parent.name}, {folder.name}: test part"
    if overrides:
        copy_run_files(folder, target, settings)
        decision = decide(settings, prepared, loaded.network, target)
    if manifest is not None:
        settings, prepared = prepare_manifest(settings, manifest)
        known = known_patients([folder], prepared.split.samples.cases["patient_id"])
        about = f"{manifest}, all of it, by {folder.parent.name}, {folder.name}"
    judgement, scores = judge_part(settings, prepared, loaded.network, target, decision=decision, model_id=folder.name)
    return Judged(target, about, judgement, scores, folder, settings, prepared, prepared.split.samples.excluded, known)


def copy_run_files(folder: Path, out: Path, settings: Settings, *, names: tuple[str, ...] = RUN_FILES) -> None:
    """Make a folder that can be listed, judged and compared as a run: settings, split, exclusions, log and what made it."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / CONFIG_FILE, dump_settings(settings))
    for name in names:
        if (folder / name).is_file():
            (out / name).write_bytes((folder / name).read_bytes())


def _check_overrides(overrides: Sequence[str], out: Path | None) -> None:
    other = [override for override in overrides if not override.strip().startswith("evaluation.")]
    if other:
        raise SettingsError(f"-o: only evaluation.… can be changed when a run is judged, got {', '.join(other)}")
    if overrides and out is None:
        raise SettingsError("-o: a judgement under other settings needs a place of its own: name a folder with --out")


def prepare_manifest(settings: Settings, manifest: Path) -> tuple[Settings, PreparedSplit]:
    """Prepare all of another data set as a run's settings prepare films."""
    data = settings.data.model_copy(update={"kind": "manifest", "manifest": manifest})
    settings = settings.model_copy(update={"data": data})
    return settings, prepare_samples(settings, make_samples(read_cases(settings.data), settings.data.task))


def known_patients(folders: list[Path], patients: pd.Series) -> tuple[str, ...]:
    """Those of the patients that runs trained or chose on, sorted.

    Raises:
        DataMissingError: A run's list of cases is damaged.
    """
    learnt: set[str] = set()
    for folder in folders:
        split = read_table(folder / "split.csv", "the run's own list of cases", error=DataMissingError)
        if not {"part", "patient_id"} <= set(split):
            raise DataMissingError(f"{folder / 'split.csv'}: is damaged: it has no columns part and patient_id; use another run")
        learnt |= set(split.loc[split["part"] != "test", "patient_id"])
    return tuple(sorted(learnt & set(patients)))


def _check_same_data(folder: Path, prepared: PreparedSplit) -> None:
    advice = "bring the old ones back, or judge with --data"
    if read_hash(folder, "split_sha256") != prepared.split.sha256:
        raise SplitError(f"{folder}: the cases or their parts have changed since this run (its own are in split.csv); {advice}")
    if read_hash(folder, "data_sha256") != prepared.data_sha256:
        raise SplitError(f"{folder}: films have other pixels than when this run was trained; {advice}")
