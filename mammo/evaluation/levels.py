"""A score table in, one row per lesion, film, breast or patient out; the finest is what the task classifies."""

import numpy as np
import pandas as pd

# From the finest level to the coarsest, with the column that gathers its cases.
LEVELS = {"lesion": "case_id", "image": "image_id", "breast": "breast_id", "patient": "patient_id"}


def levels_of(task: str) -> list[str]:
    """The levels that a task's scores can be judged at, its own first."""
    return list(LEVELS)[list(LEVELS).index(task) :]


def gather_level(scores: pd.DataFrame, level: str, *, task: str, how: str) -> pd.DataFrame:
    """Gather cases to a level.

    Args:
        scores: A checked score table.
        level: Of `levels_of(task)`.
        task: What a case is.
        how: How a level's score comes from its cases': `max`, `mean` or `noisy_or` (1 - Π(1 - score)).

    Returns:
        Rows with `label` (the maximum), `score`, `patient_id` and `fold`, sorted by the level's id, which is the index. A film, breast or
        patient of benign cases that also holds what is malignant or unknown (column `unsettled`, optional) is left out.
    """
    column = "case_id" if level == task else LEVELS[level]
    fold = scores["fold"] if "fold" in scores else pd.Series(0, scores.index)
    score = np.log1p(-scores["score"].clip(upper=1 - 1e-12)) if how == "noisy_or" else scores["score"]
    rule = {"max": "max", "mean": "mean", "noisy_or": "sum"}[how]
    columns = {
        "id": scores[column],
        "label": scores["label"],
        "score": score,
        "patient_id": scores["patient_id"],
        "fold": fold,
    }
    if level == task:
        gathered = pd.DataFrame(columns).sort_values("id", kind="stable").set_index("id")
    else:
        gathered = (
            pd.DataFrame(columns)
            .groupby("id", sort=True)
            .agg({"label": "max", "score": rule, "patient_id": "first", "fold": "first"})
        )
    if level != task and "unsettled" in scores:
        finer = levels_of("image")[: levels_of("image").index(level) + 1]
        doubtful = scores["unsettled"].isin(finer).groupby(scores[column]).any()
        gathered = gathered[~(doubtful.reindex(gathered.index) & (gathered["label"] == 0))]
    return gathered.assign(score=-np.expm1(gathered["score"])) if how == "noisy_or" else gathered
