"""The learning rate and the size of training images over time."""

import math
from collections.abc import Callable, Sequence

from mammo.settings.schema import EarlyStoppingSettings, ScheduleSettings, SmallerSettings
from mammo.training.run_state import StatefulCallback


def _constant(step: int, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    return 1.0


def _cosine(step: int, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    warmup = settings.warmup_epochs * steps_per_epoch
    total = max(1.0, epochs * steps_per_epoch - warmup)
    done = min(1.0, (step - warmup) / total)
    return settings.final_factor + (1 - settings.final_factor) * (1 + math.cos(math.pi * done)) / 2


def _step(step: int, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    passed = sum(step >= epoch * steps_per_epoch for epoch in settings.step_epochs)
    return settings.factor**passed


# By `training.schedule.name`: the factor on the learning rate at a step (from 0) after warm-up.
SCHEDULES: dict[str, Callable[[int, int, int, ScheduleSettings], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "plateau": _constant,  # cut by `Plateau`, which follows the results
}


def factor_at(step: int, *, steps_per_epoch: int, epochs: int, settings: ScheduleSettings) -> float:
    """The factor on the learning rate at a step (from 0), without the cuts of `Plateau`."""
    warmup = settings.warmup_epochs * steps_per_epoch
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return SCHEDULES[settings.name](step, steps_per_epoch, epochs, settings)


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


def scale_at(epoch: int, settings: Sequence[SmallerSettings]) -> float:
    """The factor on height and width of training images at an epoch (from 0)."""
    return next((step.factor for step in settings if epoch < step.until_epoch), 1.0)
