"""Optimizer states that paddle saves load as paddle loads them; damaged ones end in one line."""

import numpy as np
import pytest

from mammo.errors import WeightsError
from mammo.model.unpickle import load_pdopt
from mammo.runtime import paddle
from tests.model.test_pickle_bombs import mutations, outcome
from tests.model.test_unpickle import written


def trained_optimizer(kind, rate):
    layer = paddle.nn.Linear(3, 2)
    optimizer = getattr(paddle.optimizer, kind)(learning_rate=rate, parameters=layer.parameters())
    for _ in range(2):
        layer(paddle.ones([4, 3])).mean().backward()
        optimizer.step()
        optimizer.clear_grad()
        if isinstance(rate, paddle.optimizer.lr.LRScheduler):
            rate.step(*([paddle.to_tensor(1.0)] if isinstance(rate, paddle.optimizer.lr.ReduceOnPlateau) else []))
    return layer, optimizer


def schedules():
    lr = paddle.optimizer.lr
    return {
        "none": 0.1,
        "cosine": lr.CosineAnnealingDecay(0.1, 10),
        "warm-up": lr.LinearWarmup(lr.StepDecay(0.1, 3), 5, 0.0, 0.1),
        "plateau": lr.ReduceOnPlateau(0.1),
        "numpy's numbers": lr.PiecewiseDecay([1, 3], [float(value) for value in np.linspace(0.1, 0.3, 3)]),
    }


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "Momentum", "Lamb"])
@pytest.mark.parametrize("schedule", ["none", "cosine", "warm-up", "plateau", "numpy's numbers"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_the_state_of_an_optimizer_loads_as_paddle_loads_it(tmp_path, kind, schedule, protocol):
    path = tmp_path / "w.pdopt"
    _, optimizer = trained_optimizer(kind, schedules()[schedule])
    paddle.save(optimizer.state_dict(), str(path), protocol=protocol)
    ours, theirs = load_pdopt(path), paddle.load(str(path))
    assert ours.schedule == theirs.pop("LR_Scheduler", {})
    assert list(ours.accumulators) == list(theirs)
    for key, value in theirs.items():
        np.testing.assert_array_equal(ours.accumulators[key], value.numpy())
    assert ours.master_weights == {}


def test_master_weights_load_beside_the_accumulators(tmp_path):
    layer, optimizer = trained_optimizer("Adam", schedules()["warm-up"])
    state = optimizer.state_dict() | {
        "master_weights": {value.name: value.astype("float32") for value in layer.parameters()}
    }
    paddle.save(state, str(tmp_path / "w.pdopt"))
    loaded = load_pdopt(tmp_path / "w.pdopt")
    assert list(loaded.master_weights) == [value.name for value in layer.parameters()]
    for value in layer.parameters():
        np.testing.assert_array_equal(loaded.master_weights[value.name], value.numpy())
    assert loaded.schedule["LinearWarmup_LR"]["last_lr"] == 0.1


def test_numbers_of_numpys_own_kind_in_a_schedule_become_plain(tmp_path):
    path = written(
        tmp_path, {"LR_Scheduler": {"last_lr": np.float32(0.5), "milestones": [np.int64(3), None, True, "x"]}}
    )
    assert load_pdopt(path).schedule == {"last_lr": 0.5, "milestones": [3, None, True, "x"]}


def test_500_mutations_of_an_optimizers_state_end_in_arrays_or_one_line(tmp_path):
    _, optimizer = trained_optimizer("Adam", schedules()["warm-up"])
    paddle.save(optimizer.state_dict(), str(tmp_path / "s.pdopt"))
    content = (tmp_path / "s.pdopt").read_bytes()
    outcomes = [outcome(tmp_path, damaged, load_pdopt) for damaged in mutations(content, 500, 7)]
    assert outcomes.count(False) > 300


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"LR_Scheduler": [1]}, "expected tables under 'LR_Scheduler'"),
        ({"LR_Scheduler": {"a": b"x"}}, "expected numbers under 'LR_Scheduler', got a bytes"),
        ({"moment": 3}, "expected an array under 'moment', got a int"),
        ({"master_weights": {"a": 1}}, "expected an array under 'a', got a int"),
    ],
)
def test_an_optimizers_file_of_something_else_raises(tmp_path, content, told):
    with pytest.raises(WeightsError, match=told):
        load_pdopt(written(tmp_path, content, 3))
