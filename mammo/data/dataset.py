"""Prepared cases in, one case's arrays out: the `paddle.io.Dataset` of training, evaluation and the web alike."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from mammo.data.augment import Augmentation
from mammo.data.sampler import Blend
from mammo.images.geometry import Size
from mammo.images.network_input import PLAIN, Variant, apply_variant, to_network, to_unit
from mammo.prepare.arrays import read_checked
from mammo.prepare.gather import PreparedSplit
from mammo.prepare.index import Entry
from mammo.runtime import paddle
from mammo.settings.schema import AugmentationStep, Settings


@dataclass(frozen=True)
class Item:
    """One case: image float32 [V, C, H, W], present bool [V], target float32 [2], weight float32, index int64.

    The index is the row of the case in the split's table; it travels with the pixels, so that a score, or a loss that is
    no number, can name its case.
    """

    image: np.ndarray
    present: np.ndarray
    target: np.ndarray
    weight: float
    index: int


class MammogramDataset(paddle.io.Dataset):
    """Cases of a split, by their row numbers; a draw beyond `len` is the same case drawn again in one epoch.

    Of a `Blend`, image, target and weight are blended alike, and the index is the first case's. Only cases with the same views
    present are blended, so that no picture is mixed with a missing view's zeros.
    """

    def __init__(
        self,
        prepared: PreparedSplit,
        rows: np.ndarray,
        *,
        settings: Settings,
        channels: int,
        augmentation: tuple[AugmentationStep, ...] = (),
        variant: Variant = PLAIN,
        class_weights: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        """Make a dataset of some of the cases.

        Args:
            prepared: The split with its store.
            rows: Row numbers of the cases.
            settings: For size and seed.
            channels: 1 or 3, as the network's stem wants.
            augmentation: Steps; none for evaluation.
            variant: How to look, for test-time augmentation.
            class_weights: Of benign and malignant cases.
        """
        super().__init__()
        self.rows = np.asarray(rows)
        self.epoch = 0
        self.scale = 1.0
        self._full = settings.data.image_size
        self._seed = settings.seed
        self._channels = channels
        self._weights = class_weights
        self._variant = variant
        border = cv2.BORDER_REFLECT_101 if settings.data.task == "lesion" else cv2.BORDER_CONSTANT
        self._augment = Augmentation(augmentation, border=border) if augmentation else None
        samples = prepared.split.samples
        self._slots = samples.slots
        self._labels = samples.cases["label"].to_numpy(int)
        views = samples.views
        self._bounds = np.searchsorted(views["case"].to_numpy(), np.arange(len(samples) + 1))
        self._slot_of_view = views["slot"].to_numpy(int)
        self._kept: dict[tuple[int, Size, int], Item] = {}
        self._most_kept = settings.training.batch_size
        self._store, self._entries = prepared.store, prepared.entries

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: int | Blend) -> Item:
        return self._blended(draw) if isinstance(draw, Blend) else self._case(draw)

    def _blended(self, blend: Blend) -> Item:
        first, other = self._kept_case(blend.draw), self._kept_case(blend.other)
        if (first.present != other.present).any():
            return first
        share = np.float32(blend.share)
        image = share * first.image + (1 - share) * other.image
        target = share * first.target + (1 - share) * other.target
        weight = share * np.float32(first.weight) + (1 - share) * np.float32(other.weight)
        return Item(image, first.present, target, float(weight), first.index)

    def _kept_case(self, draw: int) -> Item:
        """A case that is wanted twice in its batch, loaded once and kept between."""
        key = self.epoch, self.size, draw
        kept = self._kept.pop(key, None)
        if kept is not None:
            return kept
        if len(self._kept) >= self._most_kept:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = self._case(draw)
        return self._kept[key]

    def _case(self, draw: int) -> Item:
        again, number = divmod(int(draw), len(self.rows))
        row = int(self.rows[number])
        image = np.zeros((self._slots, self._channels, *self.size), np.float32)
        for view in range(self._bounds[row], self._bounds[row + 1]):
            slot = self._slot_of_view[view]
            image[slot] = self._view(self._entries[view], row, slot, again)
        return replace(self.without_film(draw), image=image)

    @property
    def size(self) -> Size:
        """Height and width of an image, in pixels: of the settings, times `scale`, by which training's first epochs may be smaller."""
        return round(self._full[0] * self.scale), round(self._full[1] * self.scale)

    @property
    def look(self) -> int:
        """What two draws of a case have in common when they look the same: the epoch where films are augmented, else nothing."""
        return self.epoch if self._augment else 0

    def without_film(self, draw: int) -> Item:
        """A case as `dataset[draw]` gives it, but for an empty image; nothing is read."""
        row = int(self.rows[int(draw) % len(self.rows)])
        present = np.zeros(self._slots, bool)
        present[self._slot_of_view[self._bounds[row] : self._bounds[row + 1]]] = True
        label = self._labels[row]
        return Item(np.zeros(0, np.float32), present, np.eye(2, dtype=np.float32)[label], self._weights[label], row)

    def blank(self) -> Item:
        """No case, in the form of one: index -1."""
        image = np.zeros((self._slots, self._channels, *self.size), np.float32)
        return Item(image, np.zeros(self._slots, bool), np.zeros(2, np.float32), 0.0, -1)

    def _view(self, entry: Entry, row: int, slot: int, again: int) -> np.ndarray:
        unit = self._scaled(to_unit(read_checked(self._store.path(entry), entry.crc32)))
        if self._augment:
            unit = self._augment(unit, self._seed, self.epoch, row, slot, again)
        return to_network(apply_variant(unit, self.size, self._variant), self._channels)

    def _scaled(self, unit: np.ndarray) -> np.ndarray:
        if self.scale == 1.0:
            return unit
        height, width = (
            max(least, round(side * self.scale)) for least, side in zip(self.size, unit.shape, strict=True)
        )
        return cv2.resize(unit, (width, height), interpolation=cv2.INTER_AREA)
