"""A network and a loader in, a score table out: every case of the loader once, in eval mode."""

import numpy as np
import pandas as pd

from mammo.cases.samples import SUBGROUPS
from mammo.cases.splits import Split
from mammo.data.dataset import MammogramDataset
from mammo.data.loader import evaluation_loader
from mammo.errors import WeightsError
from mammo.model.network import MammogramNet, input_channels
from mammo.prepare.gather import PreparedSplit
from mammo.progress import track
from mammo.runtime import paddle
from mammo.settings import Settings


def part_loader(settings: Settings, prepared: PreparedSplit, rows: np.ndarray) -> paddle.io.DataLoader:
    """Make the loader that scores some cases: no augmentation, in order."""
    dataset = MammogramDataset(prepared, rows, settings=settings, channels=input_channels(settings.model))
    return evaluation_loader(dataset, batch_size=settings.evaluation.batch_size, workers=settings.training.workers)


def score_logits(network: MammogramNet, loader: paddle.io.DataLoader, *, what: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Score a loader's cases.

    Args:
        network: Set to eval mode for this, and back.
        loader: Of `part_loader`.
        what: Words for the progress display; none shows nothing.

    Returns:
        Row numbers int64 [n] and logits float64 [n]: the log-odds of malignancy.

    Raises:
        WeightsError: A logit is not finite.
    """
    was_training = network.training
    network.eval()
    rows, logits = [], []
    batches = track(loader, len(loader), what) if what else loader
    with paddle.no_grad():
        for image, present, _, _, index in batches:
            both = network(image, present).astype("float32").numpy().astype(np.float64)
            rows.append(index.numpy())
            logits.append(both[:, 1] - both[:, 0])
    if was_training:
        network.train()
    both_rows, both_logits = np.concatenate(rows), np.concatenate(logits)
    bad = ~np.isfinite(both_logits)
    if bad.any():
        raise WeightsError(
            f"the network gives no number for {bad.sum()} of {len(bad)} cases; its weights are damaged, or training diverged"
        )
    return both_rows, both_logits


def to_score(logit: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Turn log-odds to a probability in 0-1, after dividing by the temperature."""
    return 1.0 / (1.0 + np.exp(-np.clip(logit / temperature, -500, 500)))


def score_table(
    split: Split, rows: np.ndarray, logits: np.ndarray, *, model_id: str = "", temperature: float = 1.0, fold: int = 0
) -> pd.DataFrame:
    """Lay scores beside their cases: a score table as `evaluation.scores` describes it."""
    cases = split.samples.cases.iloc[rows].reset_index(drop=True)
    frame = cases[["case_id", "patient_id", "breast_id", "image_id", "label"]].copy()
    frame["logit"] = logits
    frame["score"] = to_score(logits, temperature)
    frame["split"] = split.part[rows]
    frame["fold"] = fold
    frame["model_id"] = model_id
    for column in SUBGROUPS:
        frame[column] = cases[column]
    frame["complete"] = cases["complete"]
    return frame
