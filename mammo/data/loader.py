"""A dataset in, batches out: images float32 [N, V, C, H, W], present bool [N, V], target [N, 2], weight [N], index [N]."""

from collections.abc import Sequence

import numpy as np

from mammo.data.dataset import Item, MammogramDataset
from mammo.data.sampler import EpochSampler
from mammo.runtime import derived_seed, paddle

Batch = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def collate(items: Sequence[Item]) -> Batch:
    """Stack cases to a batch."""
    return (
        np.stack([item.image for item in items]),
        np.stack([item.present for item in items]),
        np.stack([item.target for item in items]),
        np.array([item.weight for item in items], np.float32),
        np.array([item.index for item in items], np.int64),
    )


class Mixup:
    """Collates, then blends each case with another of its batch (Zhang et al. 2018, arXiv:1710.09412).

    Targets and weights are blended alike; only cases with the same views present are blended with each other, so that
    no picture is mixed with a missing view's zeros. The index stays that of the first case.
    """

    def __init__(self, alpha: float, *, seed: int, dataset: MammogramDataset) -> None:
        self._alpha = alpha
        self._seed = seed
        self._dataset = dataset

    def __call__(self, items: Sequence[Item]) -> Batch:
        image, present, target, weight, index = collate(items)
        generator = np.random.default_rng(derived_seed(self._seed, self._dataset.epoch, *index.tolist()))
        share = generator.beta(self._alpha, self._alpha, len(items)).astype(np.float32)
        other = generator.permutation(len(items))
        share[(present != present[other]).any(axis=1)] = 1.0
        return (
            _blend(image, image[other], share),
            present,
            _blend(target, target[other], share),
            _blend(weight, weight[other], share),
            index,
        )


def _blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape((-1, *[1] * (first.ndim - 1)))
    return share * first + (1 - share) * second


def training_loader(
    dataset: MammogramDataset, sampler: EpochSampler, *, workers: int, mixup_alpha: float, seed: int
) -> paddle.io.DataLoader:
    """Make the loader of a training part; the epoch is set on dataset and sampler before each pass."""
    together = Mixup(mixup_alpha, seed=seed, dataset=dataset) if mixup_alpha else collate
    return paddle.io.DataLoader(dataset, batch_sampler=sampler, num_workers=workers, collate_fn=together)


def evaluation_loader(dataset: MammogramDataset, *, batch_size: int, workers: int = 0) -> paddle.io.DataLoader:
    """Make the loader of a part to be scored: every case once, in order, the last batch as small as it comes."""
    return paddle.io.DataLoader(dataset, batch_size=batch_size, shuffle=False, drop_last=False, num_workers=workers, collate_fn=collate)
