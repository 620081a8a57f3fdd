"""`mammo search` on small films: its figures are those of eval and compare; it can be stopped, killed and fail."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mammo.files import locked, read_json
from mammo.runs import fold_folder, run_fingerprint
from tests.processes import call, command, kill, refused, send, settings_file, start

pytestmark = pytest.mark.slow
VARIANTS = {"plain": {}, "bold": {"training.optimizer.learning_rate": 3e-3}}


def grid_file(folder: Path, name: str, **changes: object) -> Path:
    """Write a grid of tiny variants on the films of a folder, whose output is `folder/name`."""
    config = settings_file(folder, name, training__epochs=2, training__checkpoint={"every_steps": 3})
    values = {"config": str(config), "folds": 2, "baseline": "plain", "variants": VARIANTS} | changes
    path = folder / "recipes.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def folder_of(grid: Path, name: str) -> Path:
    return grid.parent / name / "search" / grid.stem


def table_of(folder: Path) -> pd.DataFrame:
    """The table without times, which differ from run to run."""
    return pd.read_csv(folder / "table.csv", index_col="variant").drop(columns="minutes_per_fold")


def search(grid: Path, *options: str) -> subprocess.CompletedProcess:
    return call(command("search", grid, "--processes", "2", *options))


@pytest.fixture(scope="module")
def unbroken(films: Path) -> tuple[Path, Path, str]:
    """A search that ran without a break: its grid file, folder and output."""
    grid = grid_file(films, "unbroken")
    done = search(grid)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return grid, folder_of(grid, "unbroken"), done.stdout


def test_its_figures_are_those_of_eval_and_compare(unbroken: tuple[Path, Path, str], tmp_path: Path) -> None:
    _, folder, _ = unbroken
    table = pd.read_csv(folder / "table.csv", index_col="variant")
    assert list(table.index) == ["plain", "bold"]
    assert call(command("eval", "--run", folder / "bold")).returncode == 0
    for name, row in table.iterrows():
        found = read_json(folder / str(name) / "report" / "metrics.json")["levels"]["lesion"]
        for key in ("auc", "recall", "specificity", "calibration_slope"):
            for part in ("value", "low", "high"):
                expected = found[key].get(part)
                got = row[key if part == "value" else f"{key}_{part}"]
                assert pd.isna(got) if expected is None else got == pytest.approx(expected), (key, part)
        logs = [pd.read_json(folder / str(name) / f"fold_{fold}" / "log.jsonl", lines=True) for fold in range(2)]
        kept = [
            read_json(folder / str(name) / f"fold_{fold}/checkpoints/best/state.json")["epoch"] for fold in range(2)
        ]
        gaps = [
            log["train/auc"][epoch - 1] - log["validation/auc"][epoch - 1]
            for log, epoch in zip(logs, kept, strict=True)
        ]
        assert row["gap"] == pytest.approx(sum(gaps) / 2)
        assert row["epochs"] == 2
        assert row["minutes_per_fold"] == pytest.approx(sum(log["time_epoch_s"].sum() for log in logs) / 120)
    done = call(command("compare", folder / "plain", folder / "bold", "--out", tmp_path))
    assert done.returncode == 0, done.stderr
    (pair,) = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))
    auc = next(one for one in pair["differences"] if one["metric"] == "auc")
    bold = table.loc["bold"]
    assert [bold["difference"], bold["difference_low"], bold["difference_high"]] == pytest.approx(
        list(auc["difference"].values())
    )
    assert [bold["p"], bold["p_holm"]] == pytest.approx([auc["p"], auc["p_holm"]], nan_ok=True)
    assert table.loc["plain", ["difference", "p"]].isna().all()


def test_it_tells_each_fold_and_writes_the_table_it_prints(unbroken: tuple[Path, Path, str]) -> None:
    grid, folder, said = unbroken
    lines = said.splitlines()
    assert sorted(line.split(": validation AUC")[0] for line in lines if ": validation AUC" in line) == [
        "bold, fold_0",
        "bold, fold_1",
        "plain, fold_0",
        "plain, fold_1",
    ]
    assert "3 of 4 folds, about " in said
    assert all(len(line) <= 80 for line in lines if "│" in line)
    assert "its figures here are selection figures" in " ".join(lines)
    page = (folder / "table.md").read_text(encoding="utf-8")
    assert f"| plain | 2 of 2 | {table_of(folder)['auc']['plain']:.3f} (" in page
    for name in VARIANTS:
        assert (folder / name / "report" / "index.html").is_file()
        assert "device cpu, 1 threads" in (folder / name / "fold_0.log").read_text(encoding="utf-8")
    before = (folder / "table.csv").read_bytes()
    (folder / "table.csv").unlink()
    again = search(grid, "--table")
    assert again.returncode == 0, again.stderr
    assert (folder / "table.csv").read_bytes() == before
    assert "4 of 4 folds are finished" in search(grid).stdout


def test_a_dry_run_lists_what_differs_and_estimates_the_time(unbroken: tuple[Path, Path, str]) -> None:
    grid, folder, _ = unbroken
    more = grid_file(grid.parent, "unbroken", variants=VARIANTS | {"small": {"data.image_size": [24, 24]}})
    done = search(more, "--dry-run")
    grid_file(grid.parent, "unbroken")
    assert done.returncode == 0, done.stderr
    assert "data.image_size [24, 24] ([32, 32])" in done.stdout
    assert "2 folds are left" in done.stdout
    assert "min in 2 processes, as far as the folds that have ended tell" in done.stdout
    assert not (folder / "small").exists()


def test_a_changed_variant_is_refused_and_another_search_too(unbroken: tuple[Path, Path, str]) -> None:
    grid, folder, _ = unbroken
    grid_file(grid.parent, "unbroken", variants=VARIANTS | {"bold": {"model.dropout": 0.5}})
    words = ("bold/fold_0: was trained with other settings", "model.dropout was 0.1, is now 0.5", "another name")
    for options in ((), ("--table",)):
        refused(search(grid, *options), *words)
    grid_file(grid.parent, "unbroken")
    with locked(folder / ".lock", doing="test"):
        refused(search(grid), f"{folder}: this search is being run by another process ({os.getpid()} on")


def test_variants_of_other_cases_or_networks_are_refused_together(films: Path) -> None:
    variants = {"plain": {}, "split": {"data.split_seed": 3}, "batch": {"training.batch_size": 1000}}
    refused(search(grid_file(films, "wrong", variants=variants)), "split: has other cases than", "batch: ", "2 errors")
    variants = {"plain": {}, "a": {"training.loss.name": "focus"}, "b": {"model.backbone": "ResNet19_vd"}}
    refused(search(grid_file(films, "wrong", variants=variants)), "a: ", "mean focal?", "b: ", "did you mean ResNet1")
    assert not (films / "wrong" / "search").exists()


def test_stopped_and_killed_it_goes_on_to_the_same_table(unbroken: tuple[Path, Path, str], films: Path) -> None:
    _, whole, _ = unbroken
    grid = grid_file(films, "killed")
    folder = folder_of(grid, "killed")
    words = command("search", grid, "--processes", "1")
    stopped = send(start(words), signal.SIGTERM, lambda: (folder / "plain/fold_0/checkpoints/last").exists())
    assert stopped.returncode == 143, stopped.stderr
    assert "stopped by SIGTERM; go on with: " in stopped.stderr
    assert "tools/search.py" in stopped.stderr
    assert "stopped by SIGTERM" in (folder / "plain" / "fold_0.log").read_text(encoding="utf-8").splitlines()[-1]
    kill(start(words), lambda: (folder / "plain/fold_1/checkpoints/last").exists())
    first = (folder / "plain/fold_0/scores_test.csv").stat().st_mtime_ns
    done = search(grid)
    assert done.returncode == 0, done.stderr
    assert "1 of 4 folds are finished" in done.stdout
    assert (folder / "plain/fold_0/scores_test.csv").stat().st_mtime_ns == first
    pd.testing.assert_frame_equal(table_of(folder), table_of(whole), check_exact=True)
    for name in VARIANTS:
        for fold in range(2):
            found, expected = (run_fingerprint(fold_folder(one / name, fold)) for one in (folder, whole))
            assert found == expected


def test_a_failed_fold_stops_no_other_and_is_listed(films: Path) -> None:
    variants = {"plain": {}, "wild": {"training.optimizer.learning_rate": 1e30}}
    grid = grid_file(films, "failing", variants=variants, only_folds=[1])
    folder = folder_of(grid, "failing")
    done = search(grid)
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("mammo: error: wild, fold_1: failed with code 2: mammo: error: ")
    assert "training diverged" in line
    assert line.endswith(f"({folder / 'wild' / 'fold_1.log'})")
    assert "wild, fold_1: failed after" in done.stdout
    assert "screening on 1 of 2 folds (1)" in " ".join(done.stdout.split())
    table = table_of(folder)
    assert table["ended"].tolist() == [1, 0]
    assert table["screening"].all()
    assert table["auc"].notna().tolist() == [True, False]
    shutil.rmtree(folder / "wild")
    calm = grid_file(films, "failing", variants=variants | {"wild": {"model.dropout": 0.5}}, only_folds=[1])
    assert search(calm).returncode == 0
    assert call(command("eval", "--run", folder / "wild")).returncode == 0
    assert table_of(folder)["difference"].notna().tolist() == [False, True]
