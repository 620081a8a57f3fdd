"""A network and a prepared split in, decision and judgement out, both kept in the run folder."""

from pathlib import Path

import pandas as pd

from mammo.evaluation.decide import make_decision
from mammo.evaluation.judge import How, Judgement, judge
from mammo.evaluation.operating_point import Decision
from mammo.evaluation.scores import write_scores
from mammo.inference.decision_file import write_decision, write_judgement
from mammo.inference.score import score_part
from mammo.model.network import MammogramNet
from mammo.prepare.gather import PreparedSplit
from mammo.runs import network_sha256
from mammo.settings.schema import Settings


def decide(
    settings: Settings, prepared: PreparedSplit, network: MammogramNet, folder: Path, *, run: Path | None = None
) -> Decision:
    """Score the validation part, calibrate and choose thresholds on it, and keep both, with the hash of `run`'s network."""
    scores = score_part(settings, prepared, network, part="validation", model_id=folder.name)
    return keep_decision(settings, scores, prepared.split.sha256, folder, network=network_sha256(run or folder))


def keep_decision(
    settings: Settings,
    validation: pd.DataFrame,
    split_sha256: str,
    folder: Path,
    *,
    part: str = "validation",
    network: str = "",
) -> Decision:
    """Make a decision from the logits of validation (or of another part that judges nothing), and write it and its scores."""
    evaluation = settings.evaluation
    decision, scores = make_decision(
        validation,
        rules=(evaluation.operating_point, *evaluation.also_report),
        task=settings.data.task,
        level_score=evaluation.level_score,
        calibration=evaluation.calibration,
        part=part,
        split_sha256=split_sha256,
    )
    write_scores(scores, folder / f"scores_{part.replace('-', '_')}.csv")
    write_decision(decision, folder, network=network)
    return decision


def judge_part(
    settings: Settings,
    prepared: PreparedSplit,
    network: MammogramNet,
    folder: Path,
    *,
    decision: Decision,
    part: str = "test",
    model_id: str = "",
) -> tuple[Judgement, pd.DataFrame]:
    """Score a part with the decision made before, judge it, write `scores_<part>.csv` and `report/metrics.json`; returns both."""
    scores = score_part(settings, prepared, network, part=part, model_id=model_id or folder.name)
    return keep_judgement(settings, scores, folder, decision=decision, part=part)


def keep_judgement(
    settings: Settings, scores: pd.DataFrame, folder: Path, *, decision: Decision, part: str = "test"
) -> tuple[Judgement, pd.DataFrame]:
    """Calibrate and judge logits, write the table and the judgement, and return both."""
    scores = scores.assign(score=decision.calibrator.apply(scores["logit"].to_numpy(float)))
    write_scores(scores, folder / f"scores_{part}.csv")
    judgement = judge(scores, decision, how=How.of(settings.evaluation))
    write_judgement(judgement, folder)
    return judgement, scores
