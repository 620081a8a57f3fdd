"""A run folder, and perhaps another data set, in; the judgement of its best network out."""

import json
from pathlib import Path

from mammo.cases.read import read_cases
from mammo.cases.samples import make_samples
from mammo.errors import SplitError
from mammo.evaluation.judge import Judgement
from mammo.inference.judge_run import judge_part
from mammo.inference.load import load_run
from mammo.prepare.gather import gather_split, prepare_samples, prepare_split
from mammo.runtime import select_device
from mammo.settings import Settings


def evaluate_run(folder: Path, *, manifest: Path | None = None, out: Path | None = None) -> tuple[Judgement, Path, str]:
    """Judge a run's best network on its own test part, or on all of a manifest.

    Args:
        folder: The run.
        manifest: Another data set; None for the run's test part.
        out: Where scores and `report/metrics.json` go; the run folder (and `<run>/<manifest's name>`) where it is not given.

    Returns:
        The judgement, the file it was written to, and words for what was judged.

    Raises:
        SplitError: The run's test part is no longer the one it had.
    """
    loaded = load_run(folder)
    settings = loaded.settings
    select_device(settings.device)
    if manifest is not None:
        settings = _with_manifest(settings, manifest)
        prepared = prepare_samples(settings, make_samples(read_cases(settings.data), settings.data.task))
        target = out or folder / manifest.stem
        about = f"{manifest}, all of it, by {folder.name}"
    else:
        prepared = prepare_split(settings, gather_split(settings))
        _check_same_split(folder, prepared.split.sha256)
        target = out or folder
        about = f"{settings.data.kind} test part of {folder.name}"
    target.mkdir(parents=True, exist_ok=True)
    judgement = judge_part(settings, prepared, loaded.network, target, decision=loaded.decision, model_id=folder.name)
    return judgement, target / "report" / "metrics.json", about


def _with_manifest(settings: Settings, manifest: Path) -> Settings:
    """The same preprocessing, other films."""
    data = settings.data.model_copy(update={"kind": "manifest", "manifest": manifest})
    return settings.model_copy(update={"data": data})


def _check_same_split(folder: Path, sha256: str) -> None:
    before = json.loads((folder / "environment.json").read_text(encoding="utf-8"))["split_sha256"]
    if before != sha256:
        advice = "its own are in split.csv: bring them back, or judge with --data"
        raise SplitError(f"{folder}: the cases or their parts have changed since this run; {advice}")
