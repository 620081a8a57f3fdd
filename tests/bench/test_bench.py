"""The benchmarks' own judgement: bars, rounds, processes that fail, and recipes that do not get there."""

import itertools
from pathlib import Path

import pytest

from mammo.bench.measure import Ratio, Series, in_turns, ratio
from mammo.bench.processes import last_line_of
from mammo.bench.reach import bench_reach
from mammo.errors import SplitError, TrainingError
from tests.processes import ROOT
from tests.tiny import tiny_settings


@pytest.mark.parametrize(
    ("values", "bar", "reached"),
    [
        ((1.0, 2.0, 9.0), ">= 2", True),
        ((1.0, 1.9, 9.0), ">= 2", False),
        ((2.5,), "<= 2.5", True),
        ((2.6,), "<= 2.5", False),
    ],
)
def test_a_bar_is_held_against_the_median(values: tuple[float, ...], bar: str, reached: bool) -> None:
    assert Ratio("one / other", values, bar).reached is reached


def test_without_a_bar_there_is_no_verdict() -> None:
    assert Ratio("one / other", (1.0,)).reached is None


def test_things_are_measured_in_turns_and_divided_round_by_round() -> None:
    count = itertools.count(1)
    measured = in_turns({"a": lambda: float(next(count)), "b": lambda: float(next(count))}, 2, "s")
    assert measured == {"a": Series("a", (1.0, 3.0), "s"), "b": Series("b", (2.0, 4.0), "s")}
    assert ratio("b / a", measured["b"], measured["a"]).values == (2.0, 4 / 3)


def test_a_process_that_fails_is_one_line_with_its_last_words() -> None:
    with pytest.raises(TrainingError, match=r"^the benchmark's process growth failed: \w+Error.*not-a-number.*$"):
        last_line_of("growth", "not-a-number", "here")


def test_a_recipe_that_ends_below_the_auc_is_one_line(films: Path) -> None:
    settings = tiny_settings(films, output=str(films / "out"), training__epochs=1)
    with pytest.raises(TrainingError, match=r"^the training ended before a validation AUC of 1\.5 .*; ask for less$"):
        bench_reach(("plain", settings), ("quick", settings), 1.5, ROOT / "tools" / "train.py", 1)


def test_recipes_of_one_name_are_told_apart_and_stopped_where_they_reach_the_auc(films: Path) -> None:
    settings = tiny_settings(films, output=str(films / "out"), training__epochs=40)
    found = bench_reach(("tiny", settings), ("tiny", settings), 0.1, ROOT / "tools" / "train.py", 1)
    assert [one.name for one in found.series] == ["tiny", "tiny, again"]
    assert all(1 < one.median < 60 for one in found.series)


def test_recipes_of_other_parts_are_refused(films: Path) -> None:
    settings = tiny_settings(films, output=str(films / "out"))
    other = tiny_settings(films, output=str(films / "out"), data__split_seed=3)
    with pytest.raises(SplitError, match="plain and quick have other cases or parts"):
        bench_reach(("plain", settings), ("quick", other), 0.1, ROOT / "tools" / "train.py", 1)
