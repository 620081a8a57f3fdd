"""Training: the step, the schedule, freezing, averaging, stopping, saving and resuming."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammo.data.auxiliary import auxiliary_targets, auxiliary_weights, check_known
from mammo.errors import SettingsError, SplitError, TrainingError, WeightsError
from mammo.inference.load import load_run, predict_with_remarks
from mammo.model.checkpoint import last_good, read_checkpoint, write_checkpoint
from mammo.model.network import build_network, start_from_pretrained
from mammo.runs import curves_folder
from mammo.runtime import paddle, seed_everything
from mammo.settings.load import check_settings, dump_settings, load_settings
from mammo.settings.schema import (
    AuxiliarySettings,
    EarlyStoppingSettings,
    FreezeSettings,
    LossSettings,
    ModelSettings,
    OptimizerSettings,
    ScheduleSettings,
    TrainingSettings,
)
from mammo.training.assemble import class_weights, make_network
from mammo.training.epoch_metrics import EarlyStopping, Plateau
from mammo.training.fit import fit
from mammo.training.freezing import freeze_stages, set_train_mode, stage_of
from mammo.training.logs import WaitClock
from mammo.training.recipe import CaseLoss, build_optimizer, check_names, factor_at
from mammo.training.resuming import refuse_other_settings
from mammo.training.trainer import FineTuner
from tests.processes import call, command, refused, settings_file
from tests.tiny import add_findings, tiny_settings, write_films

SMALL = ModelSettings(backbone="ResNet18_vd", pretrained="none", dropout=0.0, gray_input="sum")


def network_of(settings: ModelSettings = SMALL, *, task: str = "lesion", seed: int = 0):
    seed_everything(seed)
    return build_network(settings, task=task)[0]


def batch_of(count: int, *, views: int = 1, seed: int = 0) -> list:
    generator = np.random.default_rng(seed)
    target = np.eye(2, dtype=np.float32)[np.arange(count) % 2]
    arrays = (
        generator.normal(size=(count, views, 1, 32, 32)).astype(np.float32),
        np.ones((count, views), bool),
        target,
        generator.uniform(0.5, 2.0, count).astype(np.float32),
        np.arange(count),
    )
    return [paddle.to_tensor(array) for array in arrays]


def weights_after(micro: int, settings: TrainingSettings) -> dict[str, np.ndarray]:
    """One update on 12 cases, in micro-batches of some size."""
    network = network_of()
    tuner = FineTuner(network, build_optimizer(network, settings.optimizer), settings)
    freeze_stages(network, settings.freeze, 0)
    batch = batch_of(12)
    for start in range(0, 12, micro):
        part = [tensor[start : start + micro] for tensor in batch]
        tuner.train_batch(part[:2], part[2:], update=start + micro >= 12)
    return {name: value.numpy() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("micro", [3, 4, 5])
def test_accumulation_equals_the_large_batch_with_batch_norm_frozen(micro: int) -> None:
    optimizer = OptimizerSettings(name="momentum", learning_rate=0.1, weight_decay=0.001, clip_norm=1.0)
    settings = TrainingSettings(freeze=FreezeSettings(batch_norm=True), optimizer=optimizer)
    large, small = weights_after(12, settings), weights_after(micro, settings)
    start = {name: value.numpy() for name, value in network_of().state_dict().items()}
    assert max(np.abs(large[name] - small[name]).max() for name in large) < 2e-7
    assert max(np.abs(large[name] - start[name]).max() for name in large) > 3e-3


def test_first_epochs_learn_from_smaller_images_and_scoring_sees_full_ones(
    films: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, int]] = []
    step = type(network_of()).forward

    def watched(network: paddle.nn.Layer, image: paddle.Tensor, present: paddle.Tensor) -> paddle.Tensor:
        seen.append((network.training, image.shape[-1]))
        return step(network, image, present)

    monkeypatch.setattr(type(network_of()), "forward", watched)
    smaller = [{"factor": 0.5, "until_epoch": 1}, {"factor": 0.75, "until_epoch": 2}]
    fit(tiny_settings(films, output=str(films / "smaller"), training__epochs=3, training__smaller=smaller), "smaller")
    assert list(dict.fromkeys(seen)) == [(True, 16), (False, 32), (True, 24), (True, 32)]


def test_loss_equals_cross_entropy_by_hand() -> None:
    logits = paddle.to_tensor([[0.0, 2.0], [1.0, -1.0]])
    target = paddle.to_tensor([[0.0, 1.0], [0.0, 1.0]])
    by_hand = [np.log(1 + np.exp(-2)), np.log(1 + np.exp(2))]
    assert CaseLoss(LossSettings(label_smoothing=0.0))(logits, target).numpy() == pytest.approx(by_hand, rel=1e-5)
    focal = [loss * (1 - np.exp(-loss)) ** 2 for loss in by_hand]
    assert CaseLoss(LossSettings(name="focal", label_smoothing=0.0))(logits, target).numpy() == pytest.approx(
        focal, rel=1e-5
    )
    smoothed = 0.95 * np.log(1 + np.exp(-2)) + 0.05 * np.log(1 + np.exp(2))
    assert CaseLoss(LossSettings(label_smoothing=0.1))(logits, target).numpy()[0] == pytest.approx(smoothed, rel=1e-5)


def test_auxiliary_loss_counts_known_targets_only_and_adds_their_weights() -> None:
    loss = CaseLoss(LossSettings(label_smoothing=0.0), np.array([0.5, 0.25], np.float32))
    logits = paddle.to_tensor([[0.0, 0.0, 1.0, -2.0], [0.0, 0.0, 1.0, -2.0]])
    target = paddle.to_tensor([[0.0, 1.0, 1.0, np.nan], [0.0, 1.0, 0.0, 0.5]])
    first = np.log(2) + 0.5 * np.log(1 + np.exp(-1))
    second = np.log(2) + 0.5 * np.log(1 + np.exp(1)) + 0.25 * (np.log(1 + np.exp(2)) / 2 + np.log(1 + np.exp(-2)) / 2)
    assert loss(logits, target).numpy() == pytest.approx([first, second], rel=1e-5)


def test_auxiliary_targets_are_the_words_and_the_scaled_subtlety() -> None:
    cases = pd.DataFrame({"shape": ["OVAL-LYMPH_NODE", ""], "margins": ["", ""], "subtlety": [5.0, np.nan]})
    settings = AuxiliarySettings(shape=0.8, subtlety=0.2)
    expected = [[0, 1, 0, 0, 0, 0, 0, 1, 1], [np.nan] * 9]
    np.testing.assert_array_equal(auxiliary_targets(cases, settings), np.array(expected, np.float32))
    assert auxiliary_weights(settings) == pytest.approx([0.1] * 8 + [0.2])
    check_known(cases, settings)
    with pytest.raises(SettingsError, match=r"training\.auxiliary\.margins: no case has a known margins"):
        check_known(cases, AuxiliarySettings(margins=1.0))


def test_auxiliary_heads_exist_in_training_only(tmp_path: Path) -> None:
    write_films(tmp_path)
    add_findings(tmp_path)
    how = {"training__auxiliary": {"shape": 0.3, "margins": 0.3, "subtlety": 0.1}, "training__mixup_alpha": 0.3}
    run = fit(tiny_settings(tmp_path, training__epochs=1, **how), "auxiliary").run
    saved = read_checkpoint(run / "checkpoints" / "best", groups=("network",)).tensors["network"]
    assert saved["auxiliary.weight"].shape == (512, 14)  # 8 shapes, 5 margins, subtlety
    loaded = load_run(run)
    assert not [name for name in loaded.network.state_dict() if name.startswith("auxiliary")]
    assert list(loaded.network(*batch_of(2)[:2]).shape) == [2, 2]


def test_l1_and_l2_on_gradients_together_are_refused() -> None:
    both = TrainingSettings(optimizer=OptimizerSettings(name="momentum", l1_decay=1e-5, weight_decay=1e-4))
    with pytest.raises(SettingsError, match="momentum takes l1_decay or weight_decay, got both"):
        check_names(both)
    check_names(TrainingSettings(optimizer=OptimizerSettings(name="adamw", l1_decay=1e-5, weight_decay=1e-4)))


def test_l1_decay_moves_each_weight_by_the_rate_towards_zero() -> None:
    moved = {}
    for l1_decay in (0.0, 0.5):
        network = network_of()
        before = network.head.weight.numpy()
        how = OptimizerSettings(name="momentum", learning_rate=0.1, momentum=0.0, weight_decay=0.0, l1_decay=l1_decay)
        tuner = FineTuner(network, build_optimizer(network, how), TrainingSettings())
        batch = batch_of(4)
        tuner.train_batch(batch[:2], batch[2:])
        moved[l1_decay] = network.head.weight.numpy() - before
    np.testing.assert_allclose(moved[0.5] - moved[0.0], -0.1 * 0.5 * np.sign(before), atol=1e-6)


def test_balanced_class_weights_give_both_classes_the_same_sum() -> None:
    benign, malignant = class_weights(np.array([0] * 6 + [1] * 2), "balanced")
    assert (6 * benign, 2 * malignant) == (pytest.approx(4), pytest.approx(4))


def test_decay_leaves_norms_and_biases_alone() -> None:
    network = network_of()
    build_optimizer(network, OptimizerSettings(name="adam", weight_decay=0.1))
    names = {name for name, parameter in network.named_parameters() if parameter.regularizer is not None}
    assert not any("batch_norm" in name or name.endswith("bias") for name in names)
    assert any("conv" in name for name in names)
    assert "head.weight" in names


@pytest.mark.parametrize("name", ["adam", "adamw", "momentum"])
def test_decay_pulls_weights_and_not_biases(name: str) -> None:
    moved = {}
    for decay in (0.0, 0.5):
        network = network_of()
        network.head.bias.set_value(np.ones(2, np.float32))
        tuner = FineTuner(
            network,
            build_optimizer(network, OptimizerSettings(name=name, learning_rate=0.1, weight_decay=decay)),
            TrainingSettings(),
        )
        batch = batch_of(4)
        batch[3] = batch[3] * 0 + 1e-12  # almost no gradient: what moves is moved by decay
        for parameter in network.parameters():
            parameter.stop_gradient = False
        tuner.train_batch(batch[:2], batch[2:])
        moved[decay] = {key: value.numpy() for key, value in network.named_parameters()}
    assert not np.allclose(moved[0.0]["head.weight"], moved[0.5]["head.weight"])
    assert np.allclose(moved[0.0]["head.bias"], moved[0.5]["head.bias"])


def test_warm_up_rises_then_cosine_falls_to_the_final_factor() -> None:
    settings = ScheduleSettings(name="cosine", warmup_epochs=1, final_factor=0.1)
    factors = [factor_at(step, steps_per_epoch=4, epochs=5, settings=settings) for step in range(21)]
    assert factors[:4] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert factors[4] == 1.0
    assert factors[12] == pytest.approx(0.55)
    assert factors[20] == pytest.approx(0.1)


def test_step_schedule_cuts_at_its_epochs() -> None:
    settings = ScheduleSettings(name="step", warmup_epochs=0, step_epochs=(2, 3), factor=0.5)
    assert [factor_at(step, steps_per_epoch=1, epochs=5, settings=settings) for step in range(5)] == [
        1,
        1,
        0.5,
        0.25,
        0.25,
    ]


def test_plateau_cuts_after_patience_without_improvement() -> None:
    plateau = Plateau(ScheduleSettings(name="plateau", patience=2, factor=0.1), EarlyStoppingSettings())
    factors = []
    for value in (0.5, 0.6, 0.6, 0.55, 0.7, 0.1, 0.1):
        plateau.on_epoch_end(0, {"validation/auc": value})
        factors.append(plateau.factor)
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_frozen_stages_do_not_change_until_their_epoch() -> None:
    network = network_of()
    freeze = FreezeSettings(until_epoch=(9, 2))
    settings = TrainingSettings(freeze=freeze)
    tuner = FineTuner(network, build_optimizer(network, settings.optimizer), settings)
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    freeze_stages(network, freeze, 0)
    batch = batch_of(4)
    tuner.train_batch(batch[:2], batch[2:])
    moved = {
        stage_of(name, network.stages)
        for name, value in network.state_dict().items()
        if not np.array_equal(value.numpy(), before[name])
    }
    assert moved == {None, 2, 3, 4}
    tuner.epoch = 2
    freeze_stages(network, freeze, 2)
    set_train_mode(network, freeze, 2)
    tuner.train_batch(batch[:2], batch[2:])
    stem = {name for name in before if stage_of(name, network.stages) == 0}
    assert all(np.array_equal(network.state_dict()[name].numpy(), before[name]) for name in stem)


def test_stage_factor_slows_a_stage() -> None:
    moved = {}
    for factors in ((), (0.0,)):
        network = network_of()
        start = {name: value.numpy().copy() for name, value in network.named_parameters()}
        settings = TrainingSettings(optimizer=OptimizerSettings(name="momentum", weight_decay=0.0))
        tuner = FineTuner(network, build_optimizer(network, settings.optimizer, stage_lr_factors=factors), settings)
        batch = batch_of(4)
        tuner.train_batch(batch[:2], batch[2:])
        stem = [name for name in network.learnable if stage_of(name, network.stages) == 0]
        moved[factors] = max(
            np.abs(dict(network.named_parameters())[name].numpy() - start[name]).max() for name in stem
        )
    assert moved[()] > 0
    assert moved[(0.0,)] == 0


def test_average_is_the_exponential_one_and_is_put_back() -> None:
    network = network_of()
    settings = TrainingSettings(ema_decay=0.15)
    tuner = FineTuner(network, build_optimizer(network, settings.optimizer), settings)
    name = "head.weight"
    expected = network.state_dict()[name].numpy().copy()
    batch = batch_of(4)
    for step in (1, 2, 3):
        tuner.train_batch(batch[:2], batch[2:])
        decay = min(0.15, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network.state_dict()[name].numpy()
    own = network.state_dict()[name].numpy().copy()
    with tuner.average.applied():
        assert network.state_dict()[name].numpy() == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert np.array_equal(network.state_dict()[name].numpy(), own)


def test_breast_network_scores_one_film_as_two_equal_ones_and_ignores_the_order() -> None:
    network = network_of(task="breast")
    network.eval()
    image, _, *_ = batch_of(3, views=2)
    both = paddle.to_tensor(np.ones((3, 2), bool))
    one = paddle.to_tensor(np.array([[True, False]] * 3))
    twice = paddle.stack([image[:, 0], image[:, 0]], axis=1)
    garbage = paddle.stack([image[:, 0], image[:, 0] * 0 + 1e3], axis=1)
    with paddle.no_grad():
        assert network(twice, both).numpy() == pytest.approx(network(garbage, one).numpy(), abs=1e-5)
        assert network(image, both).numpy() == pytest.approx(network(image[:, [1, 0]], both).numpy(), abs=1e-5)


def test_unknown_monitor_is_an_error() -> None:
    stopping = EarlyStopping(EarlyStoppingSettings(monitor="train/f1"))
    with pytest.raises(TrainingError, match="'train/f1' is not measured; expected one of train/auc, validation/auc"):
        stopping.on_epoch_end(0, {"train/auc": 1, "validation/auc": 1, "loss": 0})


@pytest.mark.parametrize(
    ("mode", "values", "best"), [("max", [0.5, 0.7, 0.6, 0.6], 1), ("min", [0.5, 0.7, 0.4, 0.6, 0.6], 2)]
)
def test_early_stopping_follows_its_mode(mode: str, values: list[float], best: int) -> None:
    monitor = "validation/auc" if mode == "max" else "validation/loss"
    settings = TrainingSettings(early_stopping={"monitor": monitor, "mode": mode, "patience": 2})
    stopping = EarlyStopping(settings.early_stopping)
    network = network_of()
    stopping.set_model(FineTuner(network, build_optimizer(network, settings.optimizer), settings))
    stopped = []
    for epoch, value in enumerate(values):
        stopping.model.epoch = epoch
        stopping.on_epoch_end(epoch, {monitor: value})
        stopped.append(stopping.model.stop_training)
    assert stopping.best_epoch == best
    assert stopped == [False] * (best + 2) + [True]


def test_checkpoint_with_a_flipped_byte_names_the_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last", {"network": {"w": np.arange(6, dtype=np.float32)}}, {"epoch": 1})
    file = tmp_path / "last" / "network.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"network\.safetensors: does not have the SHA-256"):
        read_checkpoint(tmp_path / "last")


def test_checkpoint_killed_between_its_renames_is_the_new_one(tmp_path: Path) -> None:
    for epoch in (1, 2):
        write_checkpoint(tmp_path / "last", {"network": {"w": np.full(2, epoch, np.float32)}}, {"epoch": epoch})
    (tmp_path / "last").rename(tmp_path / ".last.new")
    (tmp_path / ".last.previous" / "network.safetensors").write_bytes(b"")
    assert read_checkpoint(tmp_path / "last").state == {"epoch": 2}
    assert last_good(tmp_path / "last").state == {"epoch": 2}
    (tmp_path / ".last.new" / "hashes.json").unlink()  # as it is before it is whole
    with pytest.raises(
        WeightsError, match=r"and of the one before it: .*network\.safetensors: does not have the SHA-256"
    ):
        last_good(tmp_path / "last")


def test_checkpoint_killed_between_its_renames_is_the_one_before(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "last", {"network": {"w": np.zeros(2, np.float32)}}, {"epoch": 1})
    (tmp_path / "last").rename(tmp_path / ".last.previous")
    assert read_checkpoint(tmp_path / "last").state == {"epoch": 1}


def test_run_writes_what_the_contract_says_and_scores_a_file_alike(tmp_path: Path) -> None:
    write_films(tmp_path)
    settings = tiny_settings(tmp_path, training__epochs=6, training__early_stopping={"patience": 6})
    judged = fit(settings, "tiny")
    run = judged.run
    names = {path.name for path in run.iterdir()}
    assert {
        "config.yaml",
        "split.csv",
        "environment.json",
        "log.jsonl",
        "decision.json",
        "scores_validation.csv",
        "scores_test.csv",
    } <= names
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["epoch"] for line in log] == [1, 2, 3, 4, 5, 6]
    assert {"train/auc", "validation/recall", "gap/auc", "validation/specificity_at_operating_point"} <= set(log[0])
    assert judged.judgement.levels["lesion"].n == 8
    assert any(curves_folder(run.parents[1], run).iterdir())

    loaded = load_run(run)
    scores = (run / "scores_test.csv").read_text(encoding="utf-8").splitlines()
    header, first = scores[0].split(","), scores[1].split(",")
    row = dict(zip(header, first, strict=True))
    line = next(
        line
        for line in (tmp_path / "manifest.csv").read_text(encoding="utf-8").splitlines()
        if f",{row['case_id']}," in line
    ).split(",")
    box = tuple(float(value) for value in line[-4:])
    assert predict_with_remarks(loaded, tmp_path / line[0], box=box)[0] == pytest.approx(float(row["score"]), abs=1e-6)


def test_findings_are_trained_and_judged_by_both_views(tmp_path: Path) -> None:
    write_films(tmp_path)
    add_findings(tmp_path)
    judged = fit(tiny_settings(tmp_path, data__task="finding", training__epochs=1), "finding")
    assert list(judged.judgement.levels) == ["finding", "breast", "patient"]
    assert judged.judgement.own.n == 4
    score, _ = predict_with_remarks(load_run(judged.run), tmp_path / "00_CC.png", box=(20.0, 30.0, 16.0, 16.0))
    assert 0 <= score <= 1


@pytest.mark.parametrize(("task", "cases"), [("image", 8), ("breast", 4)])
def test_films_and_breasts_go_the_same_way(tmp_path: Path, task: str, cases: int) -> None:
    write_films(tmp_path)
    settings = tiny_settings(
        tmp_path, data__task=task, data__image_size=[48, 40], training__epochs=1, training__sampler="class_balanced"
    )
    judged = fit(settings, task)
    assert next(iter(judged.judgement.levels)) == task
    assert judged.judgement.levels[task].n == cases
    assert judged.judgement.levels["patient"].n == 4
    score, _ = predict_with_remarks(load_run(judged.run), tmp_path / "00_CC.png")
    assert 0 <= score <= 1


def test_whole_films_start_from_a_network_of_lesions(tmp_path: Path) -> None:
    write_films(tmp_path)
    lesions = fit(tiny_settings(tmp_path, training__epochs=1), "lesions").run
    saved = read_checkpoint(lesions / "checkpoints" / "best", groups=("network",)).tensors["network"]
    settings = tiny_settings(tmp_path, data__task="image", data__image_size=[48, 40], model__pretrained=str(lesions))
    network, backbone = make_network(settings)
    report = start_from_pretrained(backbone, settings.model)
    assert (report.missing, report.extra, report.misshaped) == ((), (), ())
    for name, value in network.backbone.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), saved[f"backbone.{name}"])
    assert not np.array_equal(network.head.weight.numpy(), saved["head.weight"])
    other = tiny_settings(
        tmp_path, data__task="image", data__image_size=[48, 40], data__split_seed=5, model__pretrained=str(lesions)
    )
    with pytest.raises(SplitError, match=r"model\.pretrained leaks: \d+ patients of validation and test"):
        fit(other, "leaking")
    (lesions / "checkpoints" / "best" / "network.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match=r"network\.safetensors: does not have the SHA-256"):
        start_from_pretrained(backbone, settings.model)


def test_resumed_run_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    write_films(tmp_path, patients=16)
    logs = {}
    for name, first in (("whole", 3), ("broken", 2)):
        schedule = {"name": "constant", "warmup_epochs": 0}
        run = fit(tiny_settings(tmp_path, training__epochs=first, training__schedule=schedule), name).run
        if first < 3:
            fit(tiny_settings(tmp_path, training__epochs=3, training__schedule=schedule), name, resume=run)
        logs[name] = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["epoch"] for line in logs["broken"]] == [1, 2, 3]
    assert logs["broken"][2]["step"] == logs["whole"][2]["step"]
    assert logs["broken"][2]["validation/loss"] == pytest.approx(logs["whole"][2]["validation/loss"], rel=1e-3)


def test_clock_separates_waiting_from_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("mammo.training.logs.time.perf_counter", lambda: now[0])
    clock = WaitClock()
    clock.on_epoch_begin(0)
    for step in range(3):
        now[0] += 1.0
        clock.on_train_batch_begin(step)
        now[0] += 3.0
        clock.on_train_batch_end(step)
    now[0] += 20.0  # scoring
    assert (clock.seconds, clock.share) == (12.0, 0.25)
    assert clock.advice() == ", 25% of it waiting for images: raise training.workers"


def test_clock_advises_nothing_for_little_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("mammo.training.logs.time.perf_counter", lambda: now[0])
    clock = WaitClock()
    clock.on_epoch_begin(0)
    assert clock.share == 0.0
    now[0] += 0.03
    clock.on_train_batch_begin(0)
    now[0] += 0.97
    clock.on_train_batch_end(0)
    assert clock.share == pytest.approx(0.03)
    assert clock.advice() == ""


def test_log_has_how_long_an_epoch_trained_and_waited(tmp_path: Path) -> None:
    write_films(tmp_path)
    run = fit(tiny_settings(tmp_path), "tiny").run
    for line in map(json.loads, (run / "log.jsonl").read_text(encoding="utf-8").splitlines()):
        assert line["time_epoch_s"] > line["time_training_s"] > 0
        assert 0 < line["time_waiting_share"] < 1


@pytest.mark.parametrize(
    ("key", "name", "message"),
    [
        ("loss", "focl", r"expected one of cross_entropy, focal, got 'focl'; did you mean focal\?"),
        ("optimizer", "adamv", r"expected one of adam, adamw, momentum, got 'adamv'; did you mean adam"),
        ("schedule", "sine", r"expected one of constant, cosine, step, plateau, got 'sine'; did you mean cosine\?"),
    ],
)
def test_unknown_name_is_an_error_with_the_valid_ones(key: str, name: str, message: str) -> None:
    settings = check_settings({"training": {key: {"name": name}}}, "here")
    with pytest.raises(SettingsError, match=rf"^settings: training\.{key}\.name: {message}"):
        make_network(settings)


def test_unknown_names_are_reported_together_before_any_film_is_read(tmp_path: Path) -> None:
    write_films(tmp_path)
    for film in tmp_path.glob("*.png"):
        film.write_bytes(b"not read")
    settings = tiny_settings(tmp_path, training__loss={"name": "x"}, training__schedule={"name": "y"})
    with pytest.raises(SettingsError, match=r"training\.loss\.name: .*training\.schedule\.name: "):
        fit(settings, "tiny")
    assert not (tmp_path / "output" / "tiny").exists()


@pytest.mark.parametrize("option", ["--print-config", "--dry-run"])
def test_unknown_name_is_one_line_of_a_command(tmp_path: Path, option: str) -> None:
    write_films(tmp_path)
    config = settings_file(tmp_path, "tiny")
    refused(
        call(command("train", "-c", config, "-o", "training.loss.name=focl", option)),
        "training.loss.name: expected one of cross_entropy, focal, got 'focl'; did you mean focal?",
    )


def test_settings_of_an_older_run_may_say_looks_for_copies(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("training: {freeze: {until_epoch: [9], looks: 3}}\n", encoding="utf-8")
    settings = load_settings(config)
    assert settings.training.freeze == FreezeSettings(until_epoch=(9,), copies=3)
    assert "copies: 3" in dump_settings(settings)
    before = settings.model_dump(mode="json")
    before["training"]["freeze"] = {"until_epoch": [9], "looks": 3}
    refuse_other_settings(tmp_path, before, settings)
    config.write_text("training: {freeze: {copies: 2, looks: 3}}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"training\.freeze\.looks"):
        load_settings(config)


def test_loss_that_is_not_finite_stops_and_names_the_cases(tmp_path: Path) -> None:
    write_films(tmp_path)
    settings = tiny_settings(
        tmp_path, training__optimizer={"name": "momentum", "learning_rate": 1e38}, training__epochs=5
    )
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at epoch \d, step \d, on the cases L\d\d(CC|MLO), "):
        fit(settings, "tiny")
