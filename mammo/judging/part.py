"""Makes and writes the decision and the judgement from the scores of a part."""

from pathlib import Path

import pandas as pd

from mammo.cases.samples import make_samples
from mammo.evaluation.judge import Judgement, judge
from mammo.evaluation.operating_point import Decision, make_decision
from mammo.evaluation.scores import write_scores
from mammo.inference.decision_file import write_decision
from mammo.inference.score import score_part
from mammo.judging.judged import write_judgement
from mammo.model.network import MammogramNet
from mammo.prepare.gather import PreparedSplit, prepare_samples
from mammo.prepare.readers import read_lesions
from mammo.runs import network_sha256
from mammo.settings.schema import Settings


def prepare_manifest(settings: Settings, manifest: Path) -> tuple[Settings, PreparedSplit]:
    """Prepare all of another data set as a run's settings prepare films."""
    data = settings.data.model_copy(update={"kind": "manifest", "manifest": manifest})
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
