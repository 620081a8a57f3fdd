"""Labels and patients in, batches of draws out: seeded by (seed, epoch), so that any epoch can be drawn again."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mammo.runtime import derived_seed, paddle

SHUFFLE, CLASS_BALANCED, PATIENT_BALANCED = "shuffle", "class_balanced", "patient_balanced"


class Blend(NamedTuple):
    """A draw of mixup: `share` of one draw's case, and the rest of another's (Zhang et al. 2018, arXiv:1710.09412)."""

    draw: int
    other: int
    share: float


class EpochSampler(paddle.io.BatchSampler):
    """Draws a training epoch: as many cases as there are, in whole batches, in the order of (seed, epoch).

    `shuffle` draws every case once. `class_balanced` draws both classes equally often, `patient_balanced` every patient
    equally often; a case drawn again in one epoch comes as `case + n * times`, so that it is augmented anew. The rest that
    fills no whole batch is left for another epoch: each epoch leaves out other cases. `epoch` and `start`, the first batch of
    it that is wanted, are set before each pass.

    Of several processes that train together, each gives its own share of every batch; together they give the same batches as
    one alone, mixed alike.
    """

    def __init__(
        self,
        labels: np.ndarray,
        patients: np.ndarray,
        *,
        batch_size: int,
        seed: int,
        kind: str = SHUFFLE,
        mixup_alpha: float = 0.0,
        rows: np.ndarray | None = None,
        own: slice = slice(None),
    ) -> None:
        """Prepare to draw.

        Args:
            labels: 0 or 1 of each case.
            patients: The patient of each case.
            batch_size: Cases per batch; at most as many as there are.
            seed: Of the run.
            kind: One of the three above.
            mixup_alpha: Of the beta distribution; above 0, each draw is a `Blend` with another of its batch.
            rows: Of each case, what mixup is seeded by; for mixup only.
            own: This process's share of a batch.
        """
        super().__init__(dataset=range(len(labels)), batch_size=batch_size)
        self.epoch = 0
        self.start = 0
        self._seed = seed
        self._kind = kind
        self._groups = [] if kind == SHUFFLE else groups_of(labels if kind == CLASS_BALANCED else patients)
        self._cases = len(labels)
        self._alpha, self._own = mixup_alpha, own
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
        generator = np.random.default_rng(
            derived_seed(self._seed, self.epoch, *self._rows[draws % self._cases].tolist())
        )
        shares = generator.beta(self._alpha, self._alpha, len(draws)).astype(np.float32)
        others = draws[generator.permutation(len(draws))]
        return [
            Blend(int(draw), int(other), float(share)) for draw, other, share in zip(draws, others, shares, strict=True)
        ]

    def draw(self, epoch: int) -> np.ndarray:
        """Draw an epoch: int [cases], each `case + n * times drawn before`."""
        generator = np.random.default_rng((self._seed, epoch))
        if self._kind == SHUFFLE:
            return generator.permutation(self._cases)
        turns = [self._endless(group, generator) for group in self._groups]
        order = np.concatenate([generator.permutation(len(turns)) for _ in range(-(-self._cases // len(turns)))])
        cases = np.array([next(turns[group]) for group in order[: self._cases]])
        return cases + self._cases * _times_before(cases)

    @staticmethod
    def _endless(group: np.ndarray, generator: np.random.Generator) -> Iterator[int]:
        while True:
            yield from generator.permutation(group)


def groups_of(key: np.ndarray) -> list[np.ndarray]:
    """Row numbers of each value, values and rows rising."""
    order = np.argsort(key, kind="stable")
    return np.split(order, np.flatnonzero(key[order][1:] != key[order][:-1]) + 1)


def _times_before(cases: np.ndarray) -> np.ndarray:
    """How often each case stood earlier in the list."""
    order = np.argsort(cases, kind="stable")
    ordered = cases[order]
    first = np.searchsorted(ordered, ordered)
    times = np.empty(len(cases), int)
    times[order] = np.arange(len(cases)) - first
    return times
