"""The `paddle.io.Dataset` of training and evaluation: gives the arrays of one prepared case."""

from dataclasses import dataclass, replace

import cv2
import numpy as np

from mammo.data.augment import Augmentation
from mammo.data.sampler import Blend
from mammo.images.geometry import Size
from mammo.images.network_input import PLAIN, Variant, apply_variant, to_network, to_unit
from mammo.prepare.gather import PreparedSplit
from mammo.prepare.records import read_checked
from mammo.runtime import paddle
from mammo.settings.schema import AugmentationStep, Settings
from mammo.settings.types import CROPPED


@dataclass(frozen=True)
class Item:
    """One case: image float32 [V, C, H, W], present bool [V], target float32 [2 + A], weight float32, index int64.

    The target is benign, malignant, and A auxiliary targets, NaN where unknown. The index is the row of the case in the
    split's table; with it, a message about a loss or a score can name the case.
    """

    image: np.ndarray
    present: np.ndarray
    target: np.ndarray
    weight: float
    index: int


class MammogramDataset(paddle.io.Dataset):
    """Cases of a split, by their row numbers int [n]; a draw beyond `len` is the same case drawn again in one epoch.

    The network expects 1 or 3 `channels`. `augmentation` is for training, `variant` for test-time augmentation;
    `class_weights` are those of benign and malignant cases; `auxiliary`, float32 [cases, A], are further targets.

    Of a `Blend`, image, target and weight are blended alike, and the index is the first case's. Only cases with
    the same views present are blended: no film is mixed with a missing view's zeros.
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
        auxiliary: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.rows = np.asarray(rows)
        self.epoch = 0
        self.scale = 1.0  # below 1 in first epochs with smaller images
        self._settings, self._prepared = settings, prepared
        self._channels, self._variant, self._weights = channels, variant, class_weights
        border = cv2.BORDER_REFLECT_101 if settings.data.task in CROPPED else cv2.BORDER_CONSTANT
        self._augment = Augmentation(augmentation, border=border) if augmentation else None
        samples = prepared.split.samples
        self._slots = samples.slots
        self._labels = samples.cases["label"].to_numpy(int)
        self._targets = np.eye(2, dtype=np.float32)[self._labels]
        if auxiliary is not None:
            self._targets = np.concatenate([self._targets, auxiliary], axis=1)
        self._bounds = np.searchsorted(samples.views["case"].to_numpy(), np.arange(len(samples) + 1))
        self._slot_of_view = samples.views["slot"].to_numpy(int)
        self._kept: dict[tuple[int, Size, int], Item] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, draw: int | Blend) -> Item:
        return self._blended(draw) if isinstance(draw, Blend) else self._case(draw)

    @property
    def size(self) -> Size:
        """Height and width of an image, in pixels: those of the settings times `scale`."""
        height, width = self._settings.data.image_size
        return round(height * self.scale), round(width * self.scale)

    @property
    def augmented_copy(self) -> int:
        """Which augmented copy of the cases is drawn: one for each epoch; 0, the only one, without augmentation."""
        return self.epoch if self._augment else 0

    def without_film(self, draw: int) -> Item:
        """A case as `dataset[draw]` gives it, but with an empty image; no film is read."""
        row = int(self.rows[int(draw) % len(self.rows)])
        present = np.zeros(self._slots, bool)
        present[self._slot_of_view[self._bounds[row] : self._bounds[row + 1]]] = True
        return Item(np.zeros(0, np.float32), present, self._targets[row], self._weights[self._labels[row]], row)

    def blank(self) -> Item:
        """An item of the right shapes without a case: its index is -1."""
        image = np.zeros((self._slots, self._channels, *self.size), np.float32)
        return Item(image, np.zeros(self._slots, bool), np.zeros_like(self._targets[0]), 0.0, -1)

    def _case(self, draw: int) -> Item:
        item, again = self.without_film(draw), int(draw) // len(self.rows)
        image = self.blank().image
        for view in range(self._bounds[item.index], self._bounds[item.index + 1]):
            slot = self._slot_of_view[view]
            image[slot] = self._view(view, item.index, slot, again)
        return replace(item, image=image)

    def _view(self, view: int, row: int, slot: int, again: int) -> np.ndarray:
        entry = self._prepared.entries[view]
        unit = to_unit(read_checked(self._prepared.store.path(entry), entry.crc32))
        if self.scale != 1.0:
            sides = zip(self.size, unit.shape, strict=True)
            height, width = (max(side, round(old * self.scale)) for side, old in sides)
            unit = cv2.resize(unit, (width, height), interpolation=cv2.INTER_AREA)
        if self._augment:
            unit = self._augment(unit, self._settings.seed, self.epoch, row, slot, again)
        return to_network(apply_variant(unit, self.size, self._variant), self._channels)

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
        """A case that is needed twice in its batch: loaded once, kept until the second time."""
        key = self.epoch, self.size, draw
        if key in self._kept:
            return self._kept.pop(key)
        if len(self._kept) >= self._settings.training.batch_size:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = self._case(draw)
        return self._kept[key]
