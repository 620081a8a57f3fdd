"""Scores prepared cases with a network and returns a score table."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from mammo.cases.samples import SUBGROUPS
from mammo.cases.splits import Split
from mammo.data.dataset import MammogramDataset
from mammo.data.loader import Loader
from mammo.errors import SplitError, WeightsError
from mammo.evaluation.calibration import Calibrator, log_odds
from mammo.images.network_input import PLAIN, Variant, variants
from mammo.model.network import MammogramNet, input_channels
from mammo.prepare.gather import PreparedSplit
from mammo.progress import track
from mammo.runtime import paddle
from mammo.settings.schema import Settings


def score_part(
    settings: Settings, prepared: PreparedSplit, network: MammogramNet, *, part: str, model_id: str = ""
) -> pd.DataFrame:
    """Score the cases of a part once each, in eval mode.

    A logit is the mean over the variants of `evaluation.test_time`. Scores are not calibrated.

    Returns:
        A score table.

    Raises:
        SplitError: The part has no case.
        WeightsError: A logit is not finite.
    """
    rows = prepared.split.rows(part)
    if not len(rows):
        raise SplitError(f"part {part} has no case to score; give one in data.split or another data set")
    chosen = variants(settings.evaluation.test_time)
    total = np.zeros(len(rows))
    for number, variant in enumerate(chosen, 1):
        what = f"scoring {part}" + (f", variant {number} of {len(chosen)}" if len(chosen) > 1 else "")
        loader = part_loader(settings, prepared, rows, variant=variant)
        scored, logits = score_logits(network, track(loader, len(loader), what))
        total += logits
    bad = ~np.isfinite(total)
    if bad.any():
        raise WeightsError(
            f"the network gives no number for {bad.sum()} of {len(bad)} cases; "
            "its weights are damaged, or training diverged"
        )
    about = {"fold": settings.data.fold, "model_id": model_id}
    return _score_table(prepared.split, scored, total / len(chosen), about)


def part_loader(settings: Settings, prepared: PreparedSplit, rows: np.ndarray, *, variant: Variant = PLAIN) -> Loader:
    """Make the loader that scores some cases: no augmentation, in order."""
    dataset = MammogramDataset(
        prepared, rows, settings=settings, channels=input_channels(settings.model), variant=variant
    )
    return Loader(dataset, workers=settings.training.workers, batch_size=settings.evaluation.batch_size)


def score_logits(network: MammogramNet, batches: Iterable[list[paddle.Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Score the cases of a loader's batches.

    Args:
        network: Is in eval mode during scoring only.
        batches: Of `part_loader`.

    Returns:
        Row numbers int64 [n] and logits float64 [n]: the log-odds of malignancy, not finite for a damaged network.
    """
    was_training = network.training
    network.eval()
    rows, logits = [np.zeros(0, np.int64)], [np.zeros(0)]
    with paddle.no_grad():
        for image, present, _, _, index in batches:
            rows.append(index.numpy())
            logits.append(log_odds(network(image, present).astype("float32").numpy()))
    if was_training:
        network.train()
    return np.concatenate(rows), np.concatenate(logits)


def _score_table(split: Split, rows: np.ndarray, logits: np.ndarray, about: dict[str, Any]) -> pd.DataFrame:
    """Put logits and uncalibrated scores beside their cases."""
    cases = split.samples.cases.iloc[rows].reset_index(drop=True)
    scored = cases[["case_id", "patient_id", "breast_id", "image_id", "label"]].assign(
        logit=logits, score=Calibrator().apply(logits), split=split.part[rows], **about
    )
    return pd.concat([scored, cases[[*SUBGROUPS, "complete", "unsettled"]]], axis=1)
