"""Scores prepared cases with a network and returns a score table."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mammo.cases.samples import SUBGROUPS
from mammo.data.dataset import MammogramDataset
from mammo.data.loader import Loader
from mammo.errors import SplitError, WeightsError
from mammo.evaluation.calibration import Calibrator, log_odds
from mammo.evaluation.scores import IDS
from mammo.images.network_input import PLAIN, Variant, variants
from mammo.model.network import MammogramNet, input_channels
from mammo.prepare.gather import PreparedSplit
from mammo.progress import track
from mammo.runtime import paddle
from mammo.settings.schema import Settings


def score_part(
    settings: Settings, prepared: PreparedSplit, network: MammogramNet, *, part: str, model_id: str = ""
) -> pd.DataFrame:
    """Score the cases of a part once each, in eval mode; returns a score table.

    A logit is the mean over the variants of `evaluation.test_time`. Scores are not calibrated.

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
        cause = "its weights are damaged, or training diverged"
        raise WeightsError(f"the network gives no number for {bad.sum()} of {len(bad)} cases; {cause}")
    mean, split = total / len(chosen), prepared.split
    cases = split.samples.cases.iloc[scored].reset_index(drop=True)
    numbers = {"logit": mean, "score": Calibrator().apply(mean), "split": split.part[scored]}
    ids = [*IDS, "finding_id"] if (cases["finding_id"] != "").all() else IDS
    table = cases[[*ids, "label"]].assign(**numbers, fold=settings.data.fold, model_id=model_id)
    return pd.concat([table, cases[[*SUBGROUPS, "complete", "unsettled"]]], axis=1)


def part_loader(settings: Settings, prepared: PreparedSplit, rows: np.ndarray, *, variant: Variant = PLAIN) -> Loader:
    """Make the loader that scores some cases: no augmentation, in order."""
    channels = input_channels(settings.model)
    dataset = MammogramDataset(prepared, rows, settings=settings, channels=channels, variant=variant)
    return Loader(dataset, workers=settings.training.workers, batch_size=settings.evaluation.batch_size)


def score_logits(network: MammogramNet, batches: Iterable[list[paddle.Tensor]]) -> tuple[np.ndarray, np.ndarray]:
    """Score the cases of a loader's batches; the network is in eval mode during scoring only.

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
