"""A loader and a network of which only the head learns enter; batches of what its backbone made of each case leave, made once."""

from collections.abc import Iterator

import numpy as np

from mammo.data.loader import Loader, collate
from mammo.data.sampler import Blend
from mammo.model.network import MammogramNet
from mammo.runtime import paddle

MOST_BYTES = 2 << 30
Key = tuple[int, int]


class KeptFeatures:
    """A loader's batches; while the whole backbone stands still, with `MammogramNet.embed`'s features in the images' place.

    Features are kept by draw and look, so that of a case that looks the same again neither its film is read nor the backbone run:
    without augmentation, or with `training.freeze.looks`. What mixup blends is never the same again, and is not kept.
    """

    def __init__(self, loader: Loader, network: MammogramNet) -> None:
        self._loader, self._network = loader, network
        self._kept: dict[Key, np.ndarray] = {}
        self._made_by: object = None

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[paddle.Tensor]]:
        if not self._network.is_held_whole:
            self._kept = {}
            yield from self._loader
            return
        if self._made_by is not self._network.held:
            self._kept, self._made_by = {}, self._network.held
        for draws in self._loader.draws():
            plain = [draw for draw in draws if not isinstance(draw, Blend)]
            if len(plain) < len(draws):
                yield from self._loader
                return
            yield self._batch(plain)

    def _batch(self, draws: list[int]) -> list[paddle.Tensor]:
        dataset = self._loader.dataset
        keys = [(dataset.look, draw) for draw in draws]
        missing = [key for key in dict.fromkeys(keys) if key not in self._kept]
        made: dict[Key, np.ndarray] = {}
        if missing:
            image, *_ = collate([dataset[draw] for _, draw in missing])
            made = dict(zip(missing, self._network.embed(paddle.to_tensor(image)).numpy(), strict=True))
            if (len(self._kept) + len(made)) * next(iter(made.values())).nbytes <= MOST_BYTES:
                self._kept |= made
        features = np.stack([self._kept[key] if key in self._kept else made[key] for key in keys])
        labels = collate([dataset.without_film(draw) for draw in draws])[1:]
        return [paddle.to_tensor(array) for array in (features, *labels)]
