"""A run folder, and perhaps another data set, in; the judgement of its best network out."""

import json
from collections.abc import Sequence
from pathlib import Path

from mammo.cases.samples import make_samples
from mammo.cases.table import no_exclusions
from mammo.errors import SettingsError, SplitError
from mammo.files import write_text, written_beside
from mammo.inference.load import load_run
from mammo.judging.judged import Judged
from mammo.judging.part import decide, judge_part
from mammo.judging.run_cases import known_patients, resembling_patients
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_samples, prepare_split
from mammo.prepare.readers import read_lesions
from mammo.runs import CONFIG_FILE, ENVIRONMENT_FILE, check_out, read_hash, writing
from mammo.settings.load import dump_settings
from mammo.settings.schema import Settings

RUN_FILES = (ENVIRONMENT_FILE, "split.csv", "excluded.csv", "warnings.csv", "log.jsonl")


def evaluate_run(
    folder: Path, *, manifest: Path | None = None, out: Path | None = None, overrides: Sequence[str] = ()
) -> Judged:
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
        if manifest and not out:
            _keep_to(target, manifest)
        return _evaluate(folder, target, manifest, overrides)


def _evaluate(folder: Path, target: Path, manifest: Path | None, overrides: Sequence[str]) -> Judged:
    loaded = load_run(folder, overrides)
    settings, decision = loaded.settings, loaded.decision
    known: tuple[str, ...] = ()
    resembling = no_exclusions()
    if overrides or manifest is None:
        prepared = prepare_split(settings, gather_split(settings))
        _check_same_data(folder, prepared)
        about = f"{folder.parent.name}, {folder.name}: test part"
    if overrides:
        copy_run_files(folder, target, settings)
        decision = decide(settings, prepared, loaded.network, target, run=folder)
    if manifest is not None:
        settings, prepared = prepare_manifest(settings, manifest)
        known = known_patients([folder], prepared.split.samples.cases["patient_id"])
        resembling = resembling_patients([folder], prepared.split.samples.cases)
        about = f"{manifest}, all of it, by {folder.parent.name}, {folder.name}"
    judgement, scores = judge_part(settings, prepared, loaded.network, target, decision=decision, model_id=folder.name)
    samples = prepared.split.samples.warn(resembling)
    if target != folder:
        with written_beside(target / "warnings.csv") as beside:
            samples.warned.to_csv(beside, index=False)
    return Judged(target, about, judgement, scores, folder, settings, prepared, samples.excluded, samples.warned, known)


def copy_run_files(folder: Path, out: Path, settings: Settings, *, names: tuple[str, ...] = RUN_FILES) -> None:
    """Make a folder that can be listed, judged and compared as a run: settings, split, exclusions, log and what made it."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / CONFIG_FILE, dump_settings(settings))
    for name in names:
        if (folder / name).is_file():
            (out / name).write_bytes((folder / name).read_bytes())


def _keep_to(target: Path, manifest: Path) -> None:
    """Hold that a folder named after a manifest holds no judgement of another one of that name."""
    note = target / "manifest.json"
    whose = json.dumps({"manifest": str(manifest.resolve())})
    if note.is_file() and note.read_text(encoding="utf-8") != whose:
        raise SettingsError(f"{target}: holds the judgement of another manifest of that name; name a folder with --out")
    write_text(note, whose)


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
    return settings, prepare_samples(settings, make_samples(read_lesions(settings), settings.data.task))


def _check_same_data(folder: Path, prepared: PreparedSplit) -> None:
    advice = "bring the old ones back, or judge with --data"
    if read_hash(folder, "split_sha256") != prepared.split.sha256:
        raise SplitError(
            f"{folder}: the cases or their parts have changed since this run (its own are in split.csv); {advice}"
        )
    if read_hash(folder, "data_sha256") != prepared.data_sha256:
        raise SplitError(f"{folder}: films have other pixels than when this run was trained; {advice}")
