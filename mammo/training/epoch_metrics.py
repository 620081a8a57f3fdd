"""Measures each epoch over whole parts of the data; stops training or cuts its learning rate without improvement."""

import math

import numpy as np

from mammo.errors import TrainingError, few_of
from mammo.evaluation.calibration import to_probability
from mammo.evaluation.metrics import count_confusion, cross_entropy, measure_at, measure_ranking
from mammo.evaluation.operating_point import choose_threshold
from mammo.inference.score import score_logits
from mammo.settings.schema import EPOCH_METRICS, LAST, EarlyStoppingSettings, ScheduleSettings
from mammo.training.assemble import Loaders
from mammo.training.freezing import KeptFeatures
from mammo.training.signals import StopSignals
from mammo.training.trainer import FineTuner, StatefulCallback


class RecallMetric(StatefulCallback):
    """Computes all metrics of an epoch, not only recall, and writes them into `logs` as `validation/recall` and so on.

    It scores whole parts at each epoch's end, in eval mode and without augmentation. The threshold metrics are measured
    at 0.5; recall and specificity also at the operating point that validation gives at that epoch. `gap/auc` and
    `gap/loss` are training minus validation: they show over-fitting as it begins.

    A loss or score that is not finite ends training and is reported with its cases. `signals` may interrupt scoring,
    which is repeated when the run goes on.
    """

    remembered = ("loss_sum",)

    def __init__(self, loaders: Loaders, *, rule: str, signals: StopSignals) -> None:
        super().__init__()
        self._loaders, self._rule, self._signals = loaders.scored, rule, signals
        self._labels, self._case_ids = loaders.cases["label"].to_numpy(int), loaders.cases["case_id"]
        self.loss_sum = 0.0
        self.scored: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # labels and scores in 0-1 of each part

    def on_train_batch_end(self, step: int, logs: dict | None = None) -> None:
        """Add up the epoch's losses.

        Raises:
            TrainingError: The loss is not finite; the weights are still those before that step.
        """
        loss = self.model.last_loss
        if not math.isfinite(loss):
            index = self.model.last_index
            index, _ = self.model.world.gather(index, np.zeros(len(index)))
            cases = ", ".join(self._case_ids.iloc[index])
            raise TrainingError(
                f"loss is {loss} at epoch {self.model.epoch + 1}, step {self.model.batch}, on the cases {cases}; "
                f"check these images; {_diverged(self.model)}"
            )
        self.loss_sum = loss + (self.loss_sum if self.model.batch > 1 else 0.0)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Score, measure, and write the metrics into `logs`.

        Raises:
            TrainingError: The score of some case is not finite.
        """
        logs = logs if logs is not None else {}
        for name in [name for name in logs if "/" in name]:
            del logs[name]  # paddle gives the same dictionary to every `fit` of a process
        logs["train/loss_augmented"] = self.loss_sum / self.model.batch
        with self.model.average.applied(), self._signals.at_once():
            for part, loader in self._loaders.items():
                rows, logits = self._score(part, loader)
                labels = self._labels[rows]
                self.scored[part] = (labels, to_probability(logits))
                logs.update({f"{part}/{name}": value for name, value in measure_epoch(labels, logits).items()})
        if "validation" not in self._loaders:  # a network that learns from all cases
            return
        labels, scores = self.scored["validation"]
        threshold = choose_threshold(labels, scores, self._rule)
        at_point = measure_at(count_confusion(labels, scores, threshold))
        logs["validation/threshold"] = threshold
        for name in ("recall", "specificity"):
            logs[f"validation/{name}_at_operating_point"] = at_point[name].value
        if "train" in self._loaders:
            for name in ("auc", "loss"):
                logs[f"gap/{name}"] = logs[f"train/{name}"] - logs[f"validation/{name}"]

    def _score(self, part: str, loader: KeptFeatures) -> tuple[np.ndarray, np.ndarray]:
        rows, logits = self.model.world.gather(*score_logits(self.model.network, loader))
        bad = ~np.isfinite(logits)
        if bad.any():
            cases = few_of(self._case_ids.iloc[rows[bad]].tolist(), most=12)
            raise TrainingError(
                f"after epoch {self.model.epoch + 1}, step {self.model.batch}, the scores of {bad.sum()} of {len(bad)} "
                f"{part} cases are not finite ({cases}): {_diverged(self.model)}"
            )
        return rows, logits


def measure_epoch(labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Measure a whole part at the threshold 0.5.

    Args:
        labels: int [n], 0 or 1.
        logits: float64 [n], log-odds of malignancy.

    Returns:
        Each of `EPOCH_METRICS`; one that is undefined (no case is called malignant) counts as 0.
    """
    scores = to_probability(logits)
    measured = measure_ranking(labels, scores) | measure_at(count_confusion(labels, scores, 0.5))
    values = {name: measured[name].value or 0.0 for name in EPOCH_METRICS if name != "loss"}
    return {"loss": cross_entropy(labels, logits)} | values


def _diverged(tuner: FineTuner) -> str:
    """What to do after a value that is not finite, and what of the run is kept."""
    kept = "; the best network so far is kept" if tuner.epoch else ""
    return f"training diverged; lower training.optimizer.learning_rate{kept}"


class EarlyStopping(StatefulCallback):
    """Stops when the monitored metric has not improved for `patience` epochs; `improved` marks a new best epoch."""

    remembered = ("best", "best_epoch", "latest", "waited")

    def __init__(self, settings: EarlyStoppingSettings) -> None:
        super().__init__()
        self._settings = settings
        self._sign = 1.0 if settings.mode == "max" else -1.0
        self.best: float | None = None
        self.best_epoch = -1
        self.latest: float | None = None
        self.waited = 0
        self.improved = False

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Compare this epoch with the best.

        Raises:
            TrainingError: The monitored metric is not measured.
        """
        measured, monitor = logs or {}, self._settings.monitor
        if monitor == LAST:
            self.improved, self.best_epoch, self.waited = True, self.model.epoch, self.model.epoch + 1
            self.best = self.latest = float(self.waited)
            self.model.stop_training = self.waited >= self._settings.patience
            return
        if monitor not in measured:
            known = ", ".join(sorted(name for name in measured if "/" in name))
            what = f"training.early_stopping.monitor: {monitor!r} is not measured"
            raise TrainingError(f"{what}; expected one of {known}")
        self.latest = value = float(measured[monitor])
        self.improved = self.best is None or self._sign * (value - self.best) > self._settings.min_delta
        if self.improved:
            self.best, self.best_epoch, self.waited = value, self.model.epoch, 0
            return
        self.waited += 1
        if self.waited >= self._settings.patience:
            self.model.stop_training = True


class Plateau(StatefulCallback):
    """Schedule `plateau`: cuts the learning rate when the monitored metric has not improved for `patience` epochs."""

    remembered = ("factor", "best", "waited")

    def __init__(self, settings: ScheduleSettings, monitored: EarlyStoppingSettings) -> None:
        super().__init__()
        self._settings, self._monitor = settings, monitored.monitor
        self._sign = 1.0 if monitored.mode == "max" else -1.0
        self.factor = 1.0
        self.best: float | None = None
        self.waited = 0

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Compare this epoch's value with the best."""
        if self._settings.name != "plateau":
            return
        value = self._sign * float((logs or {})[self._monitor])
        if self.best is None or value > self.best:
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if self.waited >= self._settings.patience:
            self.factor *= self._settings.factor
            self.waited = 0
