"""Every configuration builds its network, optimizer and pipeline, and learns one step from a batch of its own form."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo.data.augment import Augmentation
from mammo.model.network import input_channels
from mammo.runtime import paddle
from mammo.settings.load import load_settings
from mammo.training.assemble import make_network, make_tuner
from mammo.training.freezing import freeze_stages

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_config_builds_and_learns_a_step(path: Path) -> None:
    settings = load_settings(path, ["model.pretrained=none"])
    if settings.model.backbone.startswith("paddleclas:") and importlib.util.find_spec("paddleclas") is None:
        pytest.skip("paddleclas is not installed; the second stack has it")
    network, _ = make_network(settings)
    tuner = make_tuner(settings, network)
    freeze_stages(network, settings.training.freeze, 0)
    views = 2 if settings.data.task == "breast" else 1
    generator = np.random.default_rng(0)
    image = generator.normal(size=(4, views, input_channels(settings.model), 64, 64)).astype(np.float32)
    present = np.ones((4, views), bool)
    present[0, -1] = views == 1
    batch = [image, present, np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], np.ones(4, np.float32), np.arange(4)]
    before = network.head.weight.numpy().copy()
    loss = tuner.train_batch(
        [paddle.to_tensor(part) for part in batch[:2]], [paddle.to_tensor(part) for part in batch[2:]]
    )[0]
    assert np.isfinite(loss)
    assert not np.array_equal(network.head.weight.numpy(), before)
    changed = Augmentation(settings.augmentation, border=cv2.BORDER_REFLECT_101)(
        generator.random((80, 64), np.float32), 1, 2
    )
    assert changed.shape == (80, 64)
