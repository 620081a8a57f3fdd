"""Makes a run's decision, and judges any run folder: a single run, a cross-validation, or the mean of several runs."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mammo.cases.samples import make_samples
from mammo.errors import SettingsError, SplitError
from mammo.evaluation.judge import Judgement, judge
from mammo.evaluation.operating_point import Decision, make_decision
from mammo.evaluation.scores import mean_logits, read_scores, write_scores
from mammo.files import read_json, write_json, write_text, written_beside
from mammo.inference.decision_file import read_decision, write_decision
from mammo.inference.load import load_run
from mammo.inference.score import score_part
from mammo.judging.cross_validation import OUT_OF_FOLD_FILE, judge_folds
from mammo.judging.judged import (
    RUN_FILES,
    Judged,
    check_scored,
    copy_run_files,
    find_known_patients,
    read_exclusions,
    write_judgement,
)
from mammo.model.network import MammogramNet
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_samples, prepare_split
from mammo.prepare.readers import read_lesions
from mammo.runs import (
    CONFIG_FILE,
    ENSEMBLE_FILE,
    ENVIRONMENT_FILE,
    check_out,
    find_run,
    fold_folder,
    fold_folders,
    is_cross_validation,
    make_run_folder,
    mark_cross_validation,
    network_sha256,
    read_folds,
    read_hash,
    read_only,
    refuse_doubles,
    writing,
)
from mammo.settings.load import load_settings
from mammo.settings.schema import Settings


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
        if manifest and (folder / ENSEMBLE_FILE).is_file():
            return _judge_kept_ensemble(folder, manifest, out, overrides)
        return _judge_single_run(folder, manifest, out, overrides)
    if manifest:
        if overrides:
            advice = "judge the folds with -o and --out first, then that folder"
            raise SettingsError(f"-o: an ensemble takes its members' settings; {advice}")
        return judge_ensemble([folder], output=output, manifest=manifest, out=out)
    if out is not None:
        check_out(out).mkdir(parents=True, exist_ok=True)
    with writing(out or folder):
        for fold, part in fold_folders(folder).items():
            _judge_single_run(part, None, fold_folder(out, fold) if out else None, overrides)
        if out:
            copy_run_files(folder, out, load_settings(folder / CONFIG_FILE, overrides))
            mark_cross_validation(out, read_folds(folder), read_only(folder))
        return judge_folds(out or folder)


def _judge_kept_ensemble(folder: Path, manifest: Path, out: Path | None, overrides: Sequence[str]) -> Judged:
    """Judge an ensemble that was written before on another data set, by the decision that it keeps."""
    if overrides:
        raise SettingsError("-o: an ensemble is judged by the decision that it keeps; remove -o")
    target = check_out(out or folder / f"{manifest.resolve().parent.name}_{manifest.stem}", None)
    target.mkdir(parents=True, exist_ok=True)
    members = [Path(member) for member in read_json(folder / ENSEMBLE_FILE)["members"]]
    settings, decision = load_settings(folder / CONFIG_FILE), read_decision(folder)
    with writing(target):
        if not out:
            _note_data(target, manifest)
        scores, prepared = _score_manifest(members, manifest)
        judgement, scores = judge_logits(scores.assign(model_id=folder.name), settings, target, decision=decision)
    known, resembling = find_known_patients(members, prepared.split.samples.cases)
    samples = prepared.split.samples.warn(resembling)
    about = f"{manifest}, all of it, by an ensemble of {len(members)}: {folder.parent.name}, {folder.name}"
    return Judged(target, about, judgement, scores, folder, settings, prepared, samples.excluded, samples.warned, known)


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
    known, resembling = find_known_patients([folder] if manifest else [], prepared.split.samples.cases)
    samples = prepared.split.samples.warn(resembling)
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
        what = "holds the judgement of another manifest of that name"
        raise SettingsError(f"{target}: {what}; name another folder with --out")
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
        changed = "the cases or their parts have changed since this run (its own are in split.csv)"
        raise SplitError(f"{folder}: {changed}; {advice}")
    if read_hash(folder, "data_sha256") != prepared.data_sha256:
        raise SplitError(f"{folder}: films have other pixels than when this run was trained; {advice}")


def judge_ensemble(runs: list[Path], *, output: Path, manifest: Path | None = None, out: Path | None = None) -> Judged:
    """Judge the mean of several networks' logits.

    Several cross-validations of the same folds make a cross-validation whose folds are ensembles.

    The folds of a cross-validation have no common validation part: their ensemble takes calibration and thresholds from
    the pooled out-of-fold scores, which are single networks'. A mean is less spread, so these fit it only roughly.

    Args:
        runs: At least two runs of one split, two cross-validations of the same folds, or one, whose folds are the
            members.
        output: The folder of all runs; the ensemble is written there as a run, `ensemble/<time>`.
        manifest: Another data set; None for the members' common test part.
        out: Where the ensemble is written instead.

    Raises:
        SplitError: The runs have different tasks or splits, or they are folds and no other data set is given.
    """
    refuse_doubles(runs)
    if len(runs) > 1 and all(is_cross_validation(run) for run in runs):
        return _judge_crossed_ensemble([run.resolve() for run in runs], output, manifest, out)
    members, crossed = _members(runs)
    _check_members(members, crossed=crossed, manifest=manifest)
    if out is not None:
        check_out(out)
    settings = load_settings(members[0] / CONFIG_FILE)
    chosen_on = judge_folds(runs[0].resolve()).scores if crossed else _mean(members, "scores_validation.csv")
    if manifest:
        scores, prepared = _score_manifest(members, manifest)
        samples = prepared.split.samples
        known, resembling = find_known_patients(members, samples.cases)
        excluded, warned = samples.excluded, samples.warn(resembling).warned
    else:
        scores, prepared, known = _mean(members, "scores_test.csv"), None, ()
        excluded, warned = read_exclusions(members[0])
    target = out or make_run_folder(output, "ensemble")
    copy_run_files(members[0], target, settings, names=(ENVIRONMENT_FILE, "excluded.csv", "warnings.csv"))
    write_json(target / ENSEMBLE_FILE, {"members": [str(member) for member in members]})
    hashes = ", ".join(sorted({read_hash(member, "split_sha256") for member in members}))
    part = "out-of-fold" if crossed else "validation"
    decision = decide_on(chosen_on, settings, target, split=hashes, part=part)
    judgement, scores = judge_logits(scores.assign(model_id=target.name), settings, target, decision=decision)
    about = f"{manifest or 'test part'}, ensemble of {len(members)}"
    return Judged(target, about, judgement, scores, target, settings, prepared, excluded, warned, known)


def _judge_crossed_ensemble(runs: list[Path], output: Path, manifest: Path | None, out: Path | None) -> Judged:
    """Write and judge a cross-validation of which each fold is the mean of that fold's networks of all runs."""
    if manifest:
        advice = "train them on all cases (mammo train --on-all), and judge that run with --run and --data"
        raise SplitError(f"--data: the folds of several cross-validations make no one network; {advice}")
    folds = {(read_folds(run), read_only(run)) for run in runs}
    if len(folds) > 1:
        counts = ", ".join(f"{len(only or range(count))} of {count}" for count, only in sorted(folds))
        raise SplitError(
            f"{runs[0]} and the others have different folds ({counts}); name cross-validations of the same"
        )
    ((count, only),) = folds
    if out is not None:
        check_out(out)
    target = out or make_run_folder(output, "ensemble")
    settings = load_settings(runs[0] / CONFIG_FILE)
    with writing(target):
        for fold in only or range(count):
            members = [fold_folder(run, fold) for run in runs]
            _check_members(members, crossed=False, manifest=None)
            part = fold_folder(target, fold)
            of_fold = load_settings(members[0] / CONFIG_FILE)
            copy_run_files(members[0], part, of_fold, names=tuple(name for name in RUN_FILES if name != "log.jsonl"))
            split = read_hash(members[0], "split_sha256")
            decision = decide_on(_mean(members, "scores_validation.csv"), of_fold, part, split=split)
            judge_logits(_mean(members, "scores_test.csv"), of_fold, part, decision=decision)
        copy_run_files(runs[0], target, settings, names=(ENVIRONMENT_FILE,))
        write_json(target / ENSEMBLE_FILE, {"members": [str(run) for run in runs]})
        mark_cross_validation(target, count, only)
        return judge_folds(target)


def _members(runs: list[Path]) -> tuple[list[Path], bool]:
    """The runs, or the folds of a single cross-validation, and whether they are folds."""
    folders = [find_run(run.parent, run) for run in runs]
    if len(folders) == 1 and is_cross_validation(folders[0]):
        return list(fold_folders(folders[0]).values()), True
    return folders, False


def _check_members(members: list[Path], *, crossed: bool, manifest: Path | None) -> None:
    first = members[0]
    if len(members) < 2:
        needed = "an ensemble needs at least two runs, or a cross-validation"
        raise SplitError(f"{first}: {needed}; name them after --ensemble")
    tasks = {load_settings(member / CONFIG_FILE).data.task for member in members}
    if len(tasks) > 1:
        different = f"different tasks ({', '.join(sorted(tasks))})"
        raise SplitError(f"{first} and the others have {different}; name runs of one task")
    if crossed and not manifest:
        advice = "judge their ensemble on another data set with --data"
        raise SplitError(f"{first.parent}: its folds have no common test part; {advice}")
    if not crossed and len({read_hash(member, "split_sha256") for member in members}) > 1:
        advice = "name runs of one split, or one cross-validation with --data"
        raise SplitError(f"{first} and the others have no common test part (their splits differ); {advice}")


def _mean(members: list[Path], file: str) -> pd.DataFrame:
    files = [member / file for member in members]
    tables = [read_scores(path) for path in files]
    if file == "scores_test.csv":
        for member, table in zip(members, tables, strict=True):
            check_scored(member, table)
    return mean_logits(tables, [str(path) for path in files])


def _score_manifest(members: list[Path], manifest: Path) -> tuple[pd.DataFrame, PreparedSplit]:
    """Score films prepared as in each member's training; also returns the first member's films."""
    tables, films = [], []
    for member in members:
        loaded = load_run(member)
        settings, prepared = prepare_manifest(loaded.settings, manifest)
        films.append(prepared)
        tables.append(score_part(settings, prepared, loaded.network, part="test"))
    return mean_logits(tables, [str(member) for member in members]), films[0]


def prepare_manifest(settings: Settings, manifest: Path) -> tuple[Settings, PreparedSplit]:
    """Prepare all of another data set as a run's settings prepare films.

    Its pixels are square where its column `pixel_aspect` does not say otherwise: the run's setting is of its own films.
    """
    data = settings.data.model_copy(update={"kind": "manifest", "manifest": manifest, "pixel_aspect": 1.0})
    settings = settings.model_copy(update={"data": data})
    return settings, prepare_samples(settings, make_samples(read_lesions(settings), settings.data.task))


def decide(
    settings: Settings, prepared: PreparedSplit, network: MammogramNet, folder: Path, *, run: Path | None = None
) -> Decision:
    """Score the validation part, calibrate and choose thresholds on it, and write scores and decision.

    The decision is written with the hash of the network of `run`, or of `folder`.
    """
    scores = score_part(settings, prepared, network, part="validation", model_id=folder.name)
    network_hash = network_sha256(run or folder)
    return decide_on(scores, settings, folder, split=prepared.split.sha256, network=network_hash)


def decide_out_of_fold(settings: Settings, folder: Path, *, split: str) -> Decision:
    """Decide for a run that learnt from all cases: by the out-of-fold scores of its recipe, which lie in its folder."""
    scores, network = read_scores(folder / OUT_OF_FOLD_FILE), network_sha256(folder)
    return decide_on(scores, settings, folder, split=split, part="out-of-fold", network=network)


def decide_on(
    scores: pd.DataFrame, settings: Settings, folder: Path, *, split: str, part: str = "validation", network: str = ""
) -> Decision:
    """Make a decision from the logits of a part that judges nothing, and write it and the part's calibrated scores.

    `split` and `network` are SHA-256 hashes.
    """
    task = settings.data.task
    decision, scores = make_decision(scores, settings.evaluation, task=task, part=part, split_sha256=split)
    write_scores(scores, folder / f"scores_{part.replace('-', '_')}.csv")
    write_decision(decision, folder, network=network)
    return decision


def judge_logits(
    scores: pd.DataFrame, settings: Settings, folder: Path, *, decision: Decision
) -> tuple[Judgement, pd.DataFrame]:
    """Calibrate and judge logits, and write `scores_test.csv` and `report/metrics.json`."""
    scores = scores.assign(score=decision.calibrator.apply(scores["logit"].to_numpy(float)))
    write_scores(scores, folder / "scores_test.csv")
    judgement = judge(scores, decision, how=settings.evaluation)
    write_judgement(judgement, folder)
    return judgement, scores
