"""A network and a prepared split in, decision and judgement out, both kept in the run folder."""

from pathlib import Path

import pandas as pd

from mammo.errors import SplitError
from mammo.evaluation.judge import Judgement, judge
from mammo.evaluation.operating_point import Decision, choose_threshold
from mammo.evaluation.scores import write_scores
from mammo.inference.decisions import write_decision, write_judgement
from mammo.inference.score import part_loader, score_logits, score_table
from mammo.model.network import MammogramNet
from mammo.prepare.gather import PreparedSplit
from mammo.settings import Settings


def decide(settings: Settings, prepared: PreparedSplit, network: MammogramNet, folder: Path) -> Decision:
    """Score the validation part, choose the threshold on it, and keep both."""
    scores = score_part(settings, prepared, network, part="validation", model_id=folder.name)
    labels = scores["label"].to_numpy(int)
    rule = settings.evaluation.operating_point
    threshold = choose_threshold(labels, scores["score"].to_numpy(float), rule)
    decision = Decision(rule, threshold, 1.0, "validation", len(scores), int(labels.sum()), prepared.split.sha256)
    write_scores(scores, folder / "scores_validation.csv")
    write_decision(decision, folder)
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
) -> Judgement:
    """Score a part with the decision made before, judge it, and write `scores_<part>.csv` and `report/metrics.json`."""
    scores = score_part(settings, prepared, network, part=part, model_id=model_id or folder.name, temperature=decision.temperature)
    write_scores(scores, folder / f"scores_{part}.csv")
    judgement = judge(scores, decision, task=settings.data.task, gather=settings.evaluation.level_score)
    write_judgement(judgement, folder)
    return judgement


def score_part(
    settings: Settings, prepared: PreparedSplit, network: MammogramNet, *, part: str, model_id: str = "", temperature: float = 1.0
) -> pd.DataFrame:
    """Score the cases of a part.

    Raises:
        SplitError: The part has no case.
    """
    rows = prepared.split.rows(part)
    if not len(rows):
        raise SplitError(f"part {part} has no case to score; give one in data.split or another data set")
    scored, logits = score_logits(network, part_loader(settings, prepared, rows), what=f"scoring {part}")
    return score_table(prepared.split, scored, logits, model_id=model_id, temperature=temperature, fold=settings.data.fold)
