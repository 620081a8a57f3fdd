"""Gives a loader's batches with the features of frozen stages in the images' place, computed once per case and copy."""

from collections.abc import Iterator

import numpy as np

from mammo.data.loader import Loader, collate
from mammo.data.sampler import Blend
from mammo.images.geometry import Size
from mammo.model.network import MammogramNet
from mammo.runtime import paddle

MOST_BYTES = 2 << 30
Key = tuple[int, int]  # of the augmented copy, and of the draw


class KeptFeatures:
    """A loader's batches; while stages are frozen, with features of `MammogramNet.embed` as images, if memory allows.

    The features of each augmented copy of a case are kept: its film is read once, and the frozen stages run once.
    So it is without augmentation (one copy), or with `training.freeze.copies`. Blends of mixup never repeat: not kept.
    """

    def __init__(self, loader: Loader, network: MammogramNet, *, copies: int = 1) -> None:
        """Set whose features are kept.

        Args:
            loader: Gives the batches.
            network: Whose stages may be frozen.
            copies: How many augmented copies each case has; 0 for a new one in each epoch, of which nothing is kept.
        """
        self._loader, self._network, self._copies = loader, network, copies
        self._kept: dict[Key, np.ndarray] = {}
        self._made_by: tuple[object, Size] | None = None
        self._keeps = False

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        made_by = self._network.held, self._loader.dataset.size
        if self._made_by != made_by:
            self._kept, self._made_by = {}, made_by
            self._keeps = bool(self._copies) and self._network.held is not None and self._fits()
        if not self._keeps:
            yield from self._loader
            return
        for draws in self._loader.draws():
            plain = [draw for draw in draws if not isinstance(draw, Blend)]
            if len(plain) < len(draws):
                yield from self._loader
                return
            yield self._batch(plain)

    def _fits(self) -> bool:
        dataset = self._loader.dataset
        one = self._network.embed(paddle.to_tensor(dataset.blank().image[None]))
        return int(np.prod(one.shape)) * np.dtype(np.float32).itemsize * len(dataset) * self._copies <= MOST_BYTES

    def _batch(self, draws: list[int]) -> list[paddle.Tensor]:
        dataset = self._loader.dataset
        keys = [(dataset.augmented_copy, draw) for draw in draws]
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        if missing:
            image, *_ = collate([dataset[draw] for _, draw in missing])
            self._kept |= zip(missing, self._network.embed(paddle.to_tensor(image)).numpy(), strict=True)
        features = np.stack([self._kept[key] for key in keys])
        labels = collate([dataset.without_film(draw) for draw in draws])[1:]
        return [paddle.to_tensor(array) for array in (features, *labels)]
