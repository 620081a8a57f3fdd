"""Judges any run folder: a single run, a cross-validation, or the ensemble of its folds on another data set."""

import json
from collections.abc import Sequence
from pathlib import Path

from mammo.errors import SettingsError, SplitError
from mammo.files import write_text, written_beside
from mammo.inference.load import load_run
from mammo.inference.score import score_part
from mammo.judging.cross_validation import judge_folds
from mammo.judging.ensemble import judge_ensemble
from mammo.judging.judged import Judged
from mammo.judging.part import decide, judge_logits, prepare_manifest
from mammo.judging.run_cases import copy_run_files, find_known_patients
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.runs import (
    CONFIG_FILE,
    check_out,
    fold_folder,
    is_cross_validation,
    mark_cross_validation,
    read_folds,
    read_hash,
    writing,
)
from mammo.settings.load import load_settings


def judge_run_folder(
    folder: Path, *, output: Path, manifest: Path | None = None, out: Path | None = None, overrides: Sequence[str] = ()
) -> Judged:
    """Score and judge a run.

    Args:
        folder: The run.
        output: The folder of all runs, where an ensemble is written.
        manifest: Another data set; None for the run's own test part, or parts.
        out: Where scores and `report/` go; by default the run folder, or a folder in it with the manifest's name.
        overrides: Of `evaluation.…`; thresholds and calibration are then chosen again on validation, and kept in `out`.

    Raises:
        SplitError: The run's cases, parts or films have changed.
        InUseError: Another process writes there.
        SettingsError: An override has another key, has no `out`, or is given for an ensemble.
    """
    if not is_cross_validation(folder):
        return _judge_single_run(folder, manifest, out, overrides)
    if manifest:
        if overrides:
            raise SettingsError(
                "-o: an ensemble takes its members' settings; judge the folds with -o and --out first, then that folder"
            )
        return judge_ensemble([folder], output=output, manifest=manifest, out=out)
    if out is not None:
        check_out(out).mkdir(parents=True, exist_ok=True)
    folds = read_folds(folder)
    with writing(out or folder):
        for fold in range(folds):
            _judge_single_run(fold_folder(folder, fold), None, fold_folder(out, fold) if out else None, overrides)
        if out:
            copy_run_files(folder, out, load_settings(folder / CONFIG_FILE, overrides))
            mark_cross_validation(out, folds)
        return judge_folds(out or folder)


def _judge_single_run(folder: Path, manifest: Path | None, out: Path | None, overrides: Sequence[str]) -> Judged:
    _check_overrides(overrides, out)
    if out is not None:
        check_out(out, None if overrides or manifest else folder)
    target = out or (folder / f"{manifest.resolve().parent.name}_{manifest.stem}" if manifest else folder)
    target.mkdir(parents=True, exist_ok=True)
    with writing(target):
        if manifest and not out:
            _note_data(target, manifest)
        return _judge(folder, target, manifest, overrides)


def _judge(folder: Path, target: Path, manifest: Path | None, overrides: Sequence[str]) -> Judged:
    settings = load_settings(folder / CONFIG_FILE, overrides)
    loaded = load_run(folder, settings=settings)
    decision = loaded.decision
    if overrides or manifest is None:
        prepared = prepare_split(settings, gather_split(settings))
        _check_same_data(folder, prepared)
        about = f"{folder.parent.name}, {folder.name}: test part"
    if overrides:
        copy_run_files(folder, target, settings)
        decision = decide(settings, prepared, loaded.network, target, run=folder)
    if manifest is not None:
        settings, prepared = prepare_manifest(settings, manifest)
        about = f"{manifest}, all of it, by {folder.parent.name}, {folder.name}"
    scores = score_part(settings, prepared, loaded.network, part="test", model_id=folder.name)
    judgement, scores = judge_logits(scores, settings, target, decision=decision)
    samples = prepared.split.samples
    known, resembling = find_known_patients([folder] if manifest else [], samples.cases)
    samples = samples.warn(resembling)
    if target != folder:
        with written_beside(target / "warnings.csv") as beside:
            samples.warned.to_csv(beside, index=False)
    return Judged(target, about, judgement, scores, folder, settings, prepared, samples.excluded, samples.warned, known)


def _note_data(target: Path, manifest: Path) -> None:
    """Note which manifest a folder's judgement is of, and check that it was not another one of the same name."""
    note = target / "judged_data.json"
    known = note if note.is_file() else target / "manifest.json"  # the name in earlier versions
    data = json.dumps({"manifest": str(manifest.resolve())})
    if known.is_file() and known.read_text(encoding="utf-8") != data:
        raise SettingsError(
            f"{target}: holds the judgement of another manifest of that name; name another folder with --out"
        )
    write_text(note, data)


def _check_overrides(overrides: Sequence[str], out: Path | None) -> None:
    other = [override for override in overrides if not override.strip().startswith("evaluation.")]
    if other:
        raise SettingsError(f"-o: only evaluation.… can be changed when a run is judged, got {', '.join(other)}")
    if overrides and out is None:
        raise SettingsError("-o: a judgement under other settings needs its own place: name a folder with --out")


def _check_same_data(folder: Path, prepared: PreparedSplit) -> None:
    advice = "bring the old ones back, or judge with --data"
    if read_hash(folder, "split_sha256") != prepared.split.sha256:
        raise SplitError(
            f"{folder}: the cases or their parts have changed since this run (its own are in split.csv); {advice}"
        )
    if read_hash(folder, "data_sha256") != prepared.data_sha256:
        raise SplitError(f"{folder}: films have other pixels than when this run was trained; {advice}")
