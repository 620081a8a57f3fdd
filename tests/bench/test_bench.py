"""Tools of the benchmarks: bars, rounds, fresh processes, result files, and recipes that reach an AUC or not."""

import itertools
import json
import math
import os
import sys
from pathlib import Path

import pytest

from mammo.bench.measure import Finding, Series, in_process, in_turns, keep, limit, ratio
from mammo.bench.runs import bench_reach
from mammo.errors import SplitError, TrainingError
from tests.processes import ROOT
from tests.tiny import tiny_settings

TRAIN = [sys.executable, str(ROOT / "tools" / "train.py")]
# Stands for the training command: notes its seed, logs three epochs, and never ends by itself.
SCRIPT = """
import json, sys, time, yaml
from pathlib import Path
settings = yaml.safe_load(Path(sys.argv[2]).read_text(encoding="utf-8"))
with Path(__file__).with_name("seeds").open("a", encoding="utf-8") as seeds:
    print(settings["seed"], file=seeds)
run = Path(settings["output"]) / "reach" / "2026-01-01"
run.mkdir(parents=True)
epochs = [{"epoch": number, "validation/auc": auc} for number, auc in ((1, 0.5), (2, 0.8), (3, 0.9))]
(run / "log.jsonl").write_text("".join(json.dumps(epoch) + "\\n" for epoch in epochs), encoding="utf-8")
while True:
    time.sleep(1)
"""


@pytest.mark.parametrize(
    ("values", "bar", "reached"),
    [
        ((1.0, 2.0, 9.0), ">= 2", True),
        ((1.0, 1.9, 9.0), ">= 2", False),
        ((2.5,), "<= 2.5", True),
        ((2.6,), "<= 2.5", False),
    ],
)
def test_the_median_is_compared_with_the_bar(values: tuple[float, ...], bar: str, reached: bool) -> None:
    assert Series("one / other", values, bar=bar).reached is reached


def test_without_a_bar_there_is_no_verdict() -> None:
    assert Series("one / other", (1.0,)).reached is None


def test_things_are_measured_in_turns_and_divided_round_by_round() -> None:
    count = itertools.count(1)
    measured = in_turns({"a": lambda: float(next(count)), "b": lambda: float(next(count))}, 2, "s")
    assert measured == {"a": Series("a", (1.0, 3.0), "s"), "b": Series("b", (2.0, 4.0), "s")}
    assert ratio(measured["b"], measured["a"], ">= 2") == Series("b / a", (2.0, 4 / 3), bar=">= 2")
    assert limit(measured["a"], "<= 2") == Series("a, s", (1.0, 3.0), "s", "<= 2")


def test_a_function_is_called_in_a_process_of_its_own_with_its_own_environment() -> None:
    assert in_process(math.hypot, 3, 4) == 5.0
    assert in_process(os.getpid) != os.getpid()
    assert in_process(os.getenv, "MAMMO_TEST", environment=os.environ | {"MAMMO_TEST": "own"}) == "own"


def test_a_process_that_fails_is_reported_in_one_line() -> None:
    with pytest.raises(TrainingError, match=r"^the benchmark's process int failed: ValueError.*not-a-number.*$"):
        in_process(int, "not-a-number")


def test_findings_are_kept_as_json_and_as_a_plot(tmp_path: Path) -> None:
    rounds = Finding("rounds", (Series("a", (1.0, 3.0), "s"),), (Series("a / b", (2.0,), bar=">= 2"),), ("a note",))
    growth = Finding("growth", (Series("read", (1.0, 10.0), "s"),), cases=(1000, 10_000))
    path, picture = keep([rounds, growth], tmp_path / "bench")
    first, second = json.loads(path.read_text(encoding="utf-8"))["findings"]
    assert first["series"] == [{"name": "a", "values": [1.0, 3.0], "unit": "s", "bar": ""}]
    assert first["ratios"] == [{"name": "a / b", "values": [2.0], "unit": "", "bar": ">= 2"}]
    assert (first["notes"], second["cases"]) == (["a note"], [1000, 10_000])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_recipe_that_ends_below_the_auc_is_one_line(films: Path) -> None:
    settings = tiny_settings(films, output=str(films / "out"), training__epochs=1)
    with pytest.raises(TrainingError, match=r"^the training ended before a validation AUC of 1\.5 .*; ask for less$"):
        bench_reach(("plain", settings), ("quick", settings), 1.5, TRAIN, 1)


def test_each_recipe_is_stopped_at_the_auc_and_each_round_has_a_seed_of_its_own(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tiny_settings(films, output=str(films / "out"), seed=7)
    script = tmp_path / "train.py"
    script.write_text(SCRIPT, encoding="utf-8")
    found = bench_reach(("tiny", settings), ("tiny", settings), 0.8, [sys.executable, str(script)], 2)
    assert [(one.name, len(one.values)) for one in found.series] == [("tiny", 2), ("tiny, again", 2)]
    assert found.ratios == (ratio(*found.series, ">= 2"),)
    assert (tmp_path / "seeds").read_text(encoding="utf-8").split() == ["7", "7", "8", "8"]
    assert capsys.readouterr().out.count(" s, 2 epochs, to an AUC of 0.8\n") == 4


def test_recipes_of_other_parts_are_refused(films: Path) -> None:
    settings = tiny_settings(films, output=str(films / "out"))
    other = tiny_settings(films, output=str(films / "out"), data__split_seed=3)
    with pytest.raises(SplitError, match="plain and quick have other cases or parts"):
        bench_reach(("plain", settings), ("quick", other), 0.1, TRAIN, 1)
