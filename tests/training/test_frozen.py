"""Frozen stages run as a program, and their features of a case are kept: the same training in less time."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mammo.model.backbone import OWN, build_features, pieces_of
from mammo.model.frozen import FrozenPart
from mammo.model.network import build_network
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.runtime import paddle
from mammo.settings.schema import AugmentationStep, FreezeSettings, ModelSettings, OptimizerSettings, Settings
from mammo.training.assemble import make_loaders, make_network, make_tuner
from mammo.training.freezing import KeptFeatures, freeze_stages
from tests.tiny import tiny_settings, write_films

OURS = [*OWN, "vision:resnet18", "vision:mobilenet_v3_small", "vision:mobilenet_v3_large", "vision:densenet121"]
STAGES = 5


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, PreparedSplit]:
    folder = tmp_path_factory.mktemp("tiny")
    write_films(folder)
    settings = tiny_settings(folder, model__dropout=0.0)
    return settings, prepare_split(settings, gather_split(settings))


@pytest.mark.parametrize("name", OURS)
def test_pieces_one_after_the_other_are_the_backbone(name: str) -> None:
    backbone = build_features(name, in_channels=1).network
    backbone.eval()
    films = paddle.to_tensor(np.random.default_rng(0).normal(size=(2, 1, 64, 64)).astype(np.float32))
    features = films
    for _, layer in pieces_of(backbone):
        features = layer(features)
    assert np.array_equal(features.numpy(), backbone(films).numpy())


@pytest.mark.parametrize("layers", [1, 4, 12])
def test_a_frozen_part_computes_what_its_layers_do(layers: int) -> None:
    network, _ = build_network(ModelSettings(backbone="ResNet18_vd", pretrained="none"), task="lesion")
    parts = [layer for _, layer in pieces_of(network.backbone)[:layers]]
    network.train()
    frozen = FrozenPart(parts, 1)
    assert all(layer.training for layer in network.sublayers())
    network.eval()
    films = paddle.to_tensor(np.random.default_rng(0).normal(size=(3, 1, 48, 40)).astype(np.float32))
    expected = films
    for layer in parts:
        expected = layer(expected)
    assert frozen(films).numpy() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-4)


def tuned(
    settings: Settings,
    prepared: PreparedSplit,
    *,
    frozen: int,
    kept: bool,
    epochs: int = 2,
    copies: int = 0,
    steps: tuple = (),
) -> dict:
    """Train for some epochs with frozen stages: as programs with kept features, or layer by layer."""
    freeze = FreezeSettings(until_epoch=(9,) * frozen, copies=copies, batch_norm=True)
    optimizer = OptimizerSettings(name="momentum", learning_rate=0.01)  # Adam takes full steps along rounding errors
    training = settings.training.model_copy(update={"freeze": freeze, "ema_decay": 0.0, "optimizer": optimizer})
    settings = settings.model_copy(update={"training": training, "augmentation": steps})
    network, _ = make_network(settings)
    loaders = make_loaders(settings, prepared, network)
    tuner = make_tuner(settings, network)
    freeze_stages(network, freeze, 0)
    if not kept:
        network.hold(0)
    assert isinstance(loaders.train, KeptFeatures)
    for epoch in range(epochs):
        loaders.sampler.epoch = epoch
        loaders.dataset.epoch = epoch % copies if copies else epoch
        for batch in loaders.train:
            assert (batch[0].shape[1:] != [1, 1, 32, 32]) == kept
            tuner.train_batch(batch[:2], batch[2:])
    return {name: value.numpy() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("frozen", [1, 3, STAGES])
def test_training_is_the_same_with_and_without(data: tuple[Settings, PreparedSplit], frozen: int) -> None:
    first, second = (tuned(*data, frozen=frozen, kept=kept) for kept in (True, False))
    start = {name: value.numpy() for name, value in make_network(data[0])[0].state_dict().items()}
    for name, value in first.items():  # ReLUs enlarge rounding errors: compared with how far training went
        assert np.linalg.norm(value - second[name]) <= 0.02 * np.linalg.norm(value - start[name]) + 1e-5, name
    moved = [name for name, value in start.items() if not np.array_equal(value, first[name])]
    assert any(name.startswith("head.") for name in moved)
    assert any(name.startswith("backbone.") for name in moved) == (frozen < STAGES)


def test_each_case_has_so_many_augmented_copies_and_no_more(
    data: tuple[Settings, PreparedSplit], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (AugmentationStep(name="affine", p=1.0, rotate_deg=40),)
    embedded: list[int] = []
    whole = type(make_network(data[0])[0]).embed

    def counted(network: object, image: paddle.Tensor) -> paddle.Tensor:
        embedded.append(len(image))
        return whole(network, image)

    monkeypatch.setattr("mammo.model.network.MammogramNet.embed", counted)
    tuned(*data, frozen=STAGES, kept=True, epochs=12, copies=2, steps=steps)
    tries = 12  # of one blank case, to see how large its features are
    assert len(data[1].split.rows("train")) < sum(embedded) <= tries + 2 * len(data[1].split.rows("train"))
    embedded.clear()
    tuned(*data, frozen=STAGES, kept=False, epochs=3, copies=0, steps=steps)
    assert embedded == []


def test_an_unfrozen_backbone_is_no_longer_held(data: tuple[Settings, PreparedSplit], tmp_path: Path) -> None:
    network, _ = make_network(data[0])
    freeze = FreezeSettings(until_epoch=(1,) * STAGES)
    freeze_stages(network, freeze, 0)
    assert network.is_held_whole
    freeze_stages(network, freeze, 1)
    assert not network.is_held_whole
    assert network.held is None


def test_paddle_computes_to_the_same_bits_after_a_program_has_run() -> None:
    """Paddle Inference leaves paddle one thread; a resumed run would then differ from one with stages frozen before."""
    script = """
import numpy as np
from mammo.model.frozen import FrozenPart
from mammo.runtime import paddle

draw = np.random.default_rng(0)
first, second = (paddle.to_tensor(draw.normal(size=(700, 700)).astype(np.float32)) for _ in range(2))
before = paddle.matmul(first, second).numpy()
FrozenPart([paddle.nn.Conv2D(1, 8, 3)], 1)(paddle.rand([2, 1, 64, 64]))
print(np.array_equal(paddle.matmul(first, second).numpy(), before))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == "True"
