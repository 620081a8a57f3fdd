"""Batches: the dataset, the augmentation, the sampler, mixup and the loader."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from mammo.data.augment import STEPS, Augmentation
from mammo.data.dataset import MammogramDataset
from mammo.data.loader import Loader, collate
from mammo.data.sampler import EpochSampler
from mammo.images.decode import read_film
from mammo.images.network_input import to_network, to_unit
from mammo.images.preprocess import PreprocessSettings, centre_crop, prepare_lesion
from mammo.prepare.gather import PreparedSplit, gather_split, prepare_split
from mammo.settings.schema import AugmentationStep, Settings
from tests.tiny import tiny_settings, write_films

FULL = tuple(AugmentationStep(name=name, p=0.8, rotate_deg=20, shear_deg=5, zoom=(0.8, 1.2)) for name in STEPS)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, PreparedSplit]:
    folder = tmp_path_factory.mktemp("tiny")
    write_films(folder)
    settings = tiny_settings(folder)
    return settings, prepare_split(settings, gather_split(settings))


def dataset_of(prepared: tuple[Settings, PreparedSplit], steps: tuple[AugmentationStep, ...] = ()) -> MammogramDataset:
    settings, split = prepared
    return MammogramDataset(split, split.split.rows("train"), settings=settings, channels=3, augmentation=steps)


def sampler_of(dataset: MammogramDataset, **how: object) -> EpochSampler:
    labels, patients = np.arange(len(dataset)) % 2, np.arange(len(dataset)).astype(str)
    return EpochSampler(labels, patients, batch_size=8, seed=1, rows=dataset.rows, **how)


def test_item_has_the_contracts_shapes_and_its_own_row(prepared: tuple[Settings, PreparedSplit]) -> None:
    item = dataset_of(prepared)[3]
    cases = prepared[1].split.samples.cases
    assert (item.image.shape, item.image.dtype) == ((1, 3, 32, 32), np.float32)
    assert item.present.tolist() == [True]
    assert item.index == prepared[1].split.rows("train")[3]
    assert item.target.argmax() == cases["label"].iloc[item.index]


def test_item_holds_the_pixels_that_images_makes_of_the_file(prepared: tuple[Settings, PreparedSplit]) -> None:
    settings, split = prepared
    item = dataset_of(prepared)[0]
    view = split.split.samples.views.set_index("case").loc[item.index]
    box = (view.x, view.y, view.width, view.height)
    own = prepare_lesion(read_film(Path(view.image)), box, PreprocessSettings.from_data(settings.data)).pixels
    assert np.array_equal(item.image[0], to_network(centre_crop(to_unit(own), (32, 32)), 3))


@pytest.mark.parametrize("name", sorted(STEPS))
def test_step_changes_the_image_and_keeps_its_range(name: str) -> None:
    image = np.random.default_rng(0).random((48, 40), np.float32)
    step = AugmentationStep(
        name=name, p=1.0, rotate_deg=30, shear_deg=5, zoom=(0.8, 1.2), shift=0.1, noise_std=(0.01, 0.05)
    )
    changed = Augmentation((step,), border=cv2.BORDER_REFLECT_101)(image, 1, 2, 3)
    assert (changed.shape, changed.dtype) == (image.shape, np.float32)
    assert 0 <= changed.min() <= changed.max() <= 1
    assert not np.array_equal(changed, image)


@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_depends_on_seed_epoch_and_sample_only(
    prepared: tuple[Settings, PreparedSplit], workers: int
) -> None:
    dataset = dataset_of(prepared, FULL)
    dataset.epoch = 4
    expected = {item.index: item.image for item in (dataset[number] for number in range(len(dataset)))}
    labels, patients = np.arange(len(dataset)) % 2, np.arange(len(dataset)).astype(str)
    sampler = EpochSampler(labels, patients, batch_size=5, seed=1)
    seen = 0
    for image, _, _, _, index in Loader(dataset, workers=workers, batch_sampler=sampler):
        for one, row in zip(image.numpy(), index.numpy(), strict=True):
            assert np.array_equal(one, expected[int(row)])
            seen += 1
    assert seen == len(dataset) // 5 * 5
    dataset.epoch = 5
    assert not np.array_equal(dataset[0].image, expected[dataset[0].index])


def test_smaller_images_show_the_same_lesion(prepared: tuple[Settings, PreparedSplit]) -> None:
    dataset = dataset_of(prepared)
    full = dataset[0].image
    dataset.scale = 0.5
    small = dataset[0].image
    assert (dataset.size, small.shape, dataset.blank().image.shape) == ((16, 16), (1, 3, 16, 16), (1, 3, 16, 16))
    shrunk = cv2.resize(full[0, 0], (16, 16), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(small[0, 0].ravel(), shrunk.ravel())[0, 1] > 0.9


def test_case_drawn_twice_is_augmented_anew(prepared: tuple[Settings, PreparedSplit]) -> None:
    dataset = dataset_of(prepared, FULL)
    again = dataset[len(dataset)]
    assert again.index == dataset[0].index
    assert not np.array_equal(again.image, dataset[0].image)


def test_shuffle_draws_every_case_once_and_each_epoch_otherwise() -> None:
    sampler = EpochSampler(np.zeros(23, int), np.arange(23).astype(str), batch_size=4, seed=7)
    assert sorted(sampler.draw(0)) == list(range(23))
    assert sampler.draw(0).tolist() == sampler.draw(0).tolist()
    assert sampler.draw(0).tolist() != sampler.draw(1).tolist()
    assert [len(batch) for batch in sampler] == [4] * 5


def test_class_balanced_draws_both_classes_equally_often() -> None:
    labels = np.array([1] * 5 + [0] * 35)
    draws = EpochSampler(labels, np.arange(40).astype(str), batch_size=8, seed=0, kind="class_balanced").draw(0)
    assert labels[draws % 40].sum() == 20
    assert len(set(draws.tolist())) == 40


def test_patient_balanced_draws_every_patient_equally_often() -> None:
    patients = np.array(["A"] * 30 + ["B"] * 6 + ["C"] * 4)
    draws = EpochSampler(np.zeros(40, int), patients, batch_size=8, seed=0, kind="patient_balanced").draw(0)
    counts = {name: int((patients[draws % 40] == name).sum()) for name in "ABC"}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_mixup_blends_images_and_targets_by_the_same_share(prepared: tuple[Settings, PreparedSplit]) -> None:
    dataset = dataset_of(prepared)
    sampler = sampler_of(dataset, mixup_alpha=0.4)
    draws = next(iter(sampler))
    items = [dataset[blend.draw] for blend in draws]
    plain, mixed, again = (
        collate(items),
        collate([dataset[blend] for blend in draws]),
        collate([dataset[blend] for blend in draws]),
    )
    assert np.array_equal(mixed[0], again[0])
    assert mixed[2].sum(axis=1) == pytest.approx(np.ones(8))
    assert np.array_equal(mixed[4], plain[4])
    soft = np.flatnonzero((mixed[2] > 0.01).all(axis=1))
    assert len(soft) > 0
    row = soft[0]
    share = mixed[2][row, plain[2][row].argmax()]
    others = [
        k for k in range(8) if np.allclose(mixed[0][row], share * plain[0][row] + (1 - share) * plain[0][k], atol=1e-4)
    ]
    assert len(others) == 1


@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_shares_of_several_processes_are_the_batches_of_one(
    prepared: tuple[Settings, PreparedSplit], alpha: float
) -> None:
    dataset = dataset_of(prepared)
    whole = list(sampler_of(dataset, mixup_alpha=alpha))
    shares = [list(sampler_of(dataset, mixup_alpha=alpha, own=slice(rank, None, 2))) for rank in range(2)]
    for batch, first, second in zip(whole, *shares, strict=True):
        assert len(first) == len(second) == 4
        assert [draw for pair in zip(first, second, strict=True) for draw in pair] == batch


def test_loader_without_a_sampler_gives_every_case_once_in_order(prepared: tuple[Settings, PreparedSplit]) -> None:
    dataset = dataset_of(prepared)
    indices = np.concatenate([batch[4].numpy() for batch in Loader(dataset, batch_size=5)])
    assert indices.tolist() == dataset.rows.tolist()


def test_breast_with_one_view_has_an_empty_slot(tmp_path: Path) -> None:
    path = write_films(tmp_path, patients=12)
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith("03_CC")) + "\n", encoding="utf-8")
    settings = tiny_settings(tmp_path, data__task="breast")
    split = prepare_split(settings, gather_split(settings))
    row = split.split.samples.cases.index[split.split.samples.cases["case_id"] == "P03_LEFT"].to_numpy()
    item = MammogramDataset(split, row, settings=settings, channels=1)[0]
    assert item.image.shape == (2, 1, 32, 32)
    assert item.present.tolist() == [False, True]
    assert item.image[0].any() == np.False_
