"""Draws the batches of training epochs, seeded by (seed, epoch), so that any epoch can be drawn again."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from mammo.runtime import derived_seed, paddle


class Blend(NamedTuple):
    """A draw of mixup: `share` of one draw's case, and the rest of another's (Zhang et al. 2018, arXiv:1710.09412)."""

    draw: int
    other: int
    share: float


class EpochSampler(paddle.io.BatchSampler):
    """Draws a training epoch: as many cases as there are, in whole batches, in an order given by (seed, epoch).

    `shuffle` draws every case once. `class_balanced` draws both classes equally often, `patient_balanced` every patient
    equally often; a case drawn again in one epoch is `case + n * times`, and so augmented anew. Cases that fill no
    whole batch are left out, other ones in each epoch. `epoch`, and `start`, its first batch, are set before each pass.

    Several processes that train together each give their share of every batch; together these are the batches of one
    process, with the same blends.
    """

    def __init__(
        self,
        labels: np.ndarray,
        patients: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        kind: str = "shuffle",
        mixup_alpha: float = 0.0,
        rows: np.ndarray | None = None,
        own: slice = slice(None),
    ) -> None:
        """Prepare to draw.

        Args:
            labels: int [n], 0 or 1 of each case.
            patients: str [n], the patient of each case.
            batch_size: Cases per batch; at most as many as there are.
            mixup_alpha: Of the beta distribution; above 0, each draw is a `Blend` with another of its batch.
            rows: int [n], the seed of mixup for each case; for mixup only.
        """
        super().__init__(dataset=range(len(labels)), batch_size=batch_size)
        self.epoch = 0
        self.start = 0
        self._seed, self._alpha, self._own = seed, mixup_alpha, own
        balanced = {"shuffle": None, "class_balanced": labels, "patient_balanced": patients}[kind]
        self._groups = None if balanced is None else _groups_of(balanced)
        self._cases = len(labels)
        self._rows = np.arange(len(labels)) if rows is None else rows

    @property
    def batches(self) -> int:
        """How many batches a whole epoch has."""
        return self._cases // self.batch_size

    def __len__(self) -> int:
        return self.batches - self.start

    def __iter__(self) -> Iterator[list[int] | list[Blend]]:
        draws = self.draw(self.epoch)
        for batch in range(self.start, self.batches):
            together = draws[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield self._blended(together)[self._own] if self._alpha else together[self._own].tolist()

    def _blended(self, draws: np.ndarray) -> list[Blend]:
        seed = derived_seed(self._seed, self.epoch, *self._rows[draws % self._cases].tolist())
        generator = np.random.default_rng(seed)
        shares = generator.beta(self._alpha, self._alpha, len(draws)).astype(np.float32)
        others = draws[generator.permutation(len(draws))]
        return [Blend(*one) for one in zip(draws.tolist(), others.tolist(), shares.tolist(), strict=True)]

    def draw(self, epoch: int) -> np.ndarray:
        """Draw an epoch: int [n], each `case + n * times drawn before`."""
        generator = np.random.default_rng((self._seed, epoch))
        if self._groups is None:
            return generator.permutation(self._cases)
        turns = [_endless(group, generator) for group in self._groups]
        rounds = -(-self._cases // len(turns))
        order = np.concatenate([generator.permutation(len(turns)) for _ in range(rounds)])
        cases = np.array([next(turns[group]) for group in order[: self._cases]])
        times_before = pd.Series(cases).groupby(cases).cumcount().to_numpy()
        return cases + self._cases * times_before


def _endless(group: np.ndarray, generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from generator.permutation(group)


def _groups_of(key: np.ndarray) -> list[np.ndarray]:
    """Row numbers int [..] of each value of `key` [n], values and rows rising."""
    order = np.argsort(key, kind="stable")
    return np.split(order, np.flatnonzero(key[order][1:] != key[order][:-1]) + 1)
