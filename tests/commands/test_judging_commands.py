"""The commands that judge, as a user types them: report, ensemble, comparison, list, and how bad score tables end."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from mammo.errors import DataMissingError
from mammo.files import read_json
from mammo.plots.learning import read_log, write_curves
from mammo.report.runs import list_runs, summarise
from mammo.runs import VISUALDL_FILE, curves_folder
from tests.commands.test_commands import assert_refused, call, write_config
from tests.evaluation.tables import drawn_table
from tests.tiny import write_films


@pytest.fixture(scope="module")
def two_seeds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    folder = tmp_path_factory.mktemp("two seeds")
    write_films(folder)
    write_config(folder)
    for seed in (0, 1):
        done = call("train", "-c", "tiny.yaml", "-o", "training.epochs=2", "-o", f"seed={seed}", folder=folder)
        assert done.returncode == 0, done.stderr
    return folder, sorted((folder / "output" / "tiny").iterdir())


def copy_without_networks(run: Path, to: Path) -> Path:
    """Copy a run but for its tensors and pictures, which take hundreds of megabytes."""
    return shutil.copytree(run, to, ignore=shutil.ignore_patterns("*.safetensors", "visualdl"))


def test_training_leaves_a_report_and_its_figures_in_visualdl(two_seeds: tuple[Path, list[Path]]) -> None:
    _, runs = two_seeds
    for run in runs:
        assert {path.name for path in (run / "report").iterdir()} == {
            "index.html",
            "metrics.json",
            "model_card.md",
            "checklist.md",
            "curves.png",
        }
        assert curves_folder(run.parents[1], run).joinpath(VISUALDL_FILE).stat().st_size > 0
        page = (run / "report" / "index.html").read_text(encoding="utf-8")
        decision = json.loads((run / "decision.json").read_text(encoding="utf-8"))
        assert decision["split_sha256"] in page
        assert json.loads((run / "environment.json").read_text(encoding="utf-8"))["data_sha256"] in page


def test_comparison_prints_differences_and_writes_curves(two_seeds: tuple[Path, list[Path]]) -> None:
    folder, runs = two_seeds
    done = call("compare", *runs, folder=folder)
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "│" in line)
    assert (folder / "output" / "compare" / "compare.png").read_bytes().startswith(b"\x89PNG")
    (pair,) = json.loads((folder / "output" / "compare" / "compare.json").read_text(encoding="utf-8"))
    auc = next(row for row in pair["differences"] if row["metric"] == "auc")
    metrics = [
        json.loads((run / "report" / "metrics.json").read_text(encoding="utf-8"))["levels"]["lesion"]["auc"]
        for run in runs
    ]
    assert auc["difference"]["value"] == pytest.approx(metrics[1]["value"] - metrics[0]["value"])


def test_list_has_every_run(two_seeds: tuple[Path, list[Path]]) -> None:
    folder, runs = two_seeds
    done = call("compare", "--list", folder=folder)
    assert done.returncode == 0, done.stderr
    assert all(run.name[:10] in done.stdout for run in runs)
    assert_refused(call("compare", "--list", "--output", "nothing", folder=folder), "nothing: has no run yet")


def test_ensemble_is_kept_and_compared_as_a_run(two_seeds: tuple[Path, list[Path]]) -> None:
    folder, runs = two_seeds
    done = call("eval", "--ensemble", *runs, "--out", "both", folder=folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "both" / "report" / "index.html").is_file()
    done = call("compare", runs[0], "both", folder=folder)
    assert done.returncode == 0, done.stderr


def test_run_can_be_judged_with_test_time_augmentation(two_seeds: tuple[Path, list[Path]]) -> None:
    folder, runs = two_seeds
    done = call("eval", "--run", runs[0], "-o", "evaluation.test_time.flips=both", "--out", "flips", folder=folder)
    assert done.returncode == 0, done.stderr
    assert not pd.read_csv(folder / "flips" / "scores_test.csv")["logit"].equals(
        pd.read_csv(runs[0] / "scores_test.csv")["logit"]
    )
    assert_refused(
        call("eval", "--run", runs[0], "-o", "seed=1", "--out", "x", folder=folder), "only evaluation.… can be changed"
    )
    assert_refused(call("eval", "-o", "evaluation.resamples=200", folder=folder), "name a folder with --out")


def test_nothing_of_another_run_is_overwritten(two_seeds: tuple[Path, list[Path]]) -> None:
    folder, runs = two_seeds
    before = {path: path.read_bytes() for path in (*runs[1].glob("*.*"), *(runs[1] / "report").iterdir())}
    own = ("--run", runs[1])
    assert_refused(call("eval", "--run", runs[0], "--out", runs[1], folder=folder), "is another run")
    assert_refused(
        call("eval", *own, "-o", "evaluation.operating_point=youden", "--out", runs[1], folder=folder),
        "is another run",
    )
    assert_refused(call("eval", "--ensemble", *runs, "--out", runs[1], folder=folder), "is another run")
    done = call("eval", "--scores", runs[1] / "scores_validation.csv", folder=folder)
    assert done.returncode == 0, done.stderr
    assert (runs[1] / "scores_validation" / "report" / "metrics.json").is_file()
    assert {path: path.read_bytes() for path in before} == before


def test_one_run_is_named_once(two_seeds: tuple[Path, list[Path]]) -> None:
    folder, runs = two_seeds
    for words in (
        ("compare", runs[0], runs[0]),
        ("eval", "--ensemble", runs[0], runs[0]),
        ("eval", "--summary", runs[0], runs[0]),
    ):
        assert_refused(call(*words, folder=folder), "is named twice")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"level_score": "bogus"}, "level_score: Input should be 'max', 'mean' or 'noisy_or'"),
        ({"cases": "many"}, "cases: Input should be a valid integer"),
        (
            {"calibrator": {"method": "isotonic", "temperature": 1.0, "logits": [], "probabilities": []}},
            "as many logits as probabilities",
        ),
        ({"points": []}, "expected a threshold in 0-1 for every level"),
    ],
)
def test_damaged_decision_is_one_line(
    two_seeds: tuple[Path, list[Path]], tmp_path: Path, change: dict, words: str
) -> None:
    folder, runs = two_seeds
    run = copy_without_networks(runs[0], tmp_path / "run")
    decision = json.loads((run / "decision.json").read_text(encoding="utf-8")) | change
    (run / "decision.json").write_text(json.dumps(decision), encoding="utf-8")
    assert_refused(call("eval", "--run", run, folder=folder), words)


DEEP = "[" * 100_000
ODD_REPORTS = [
    DEEP, "[]", "3", '{"levels": ', '{"task": "lesion", "levels": 3}', '{"task": ["a"], "levels": {}}',
    '{"levels": {"lesion": []}}', '{"task": "lesion", "levels": {"lesion": {"auc": 3}}}',
    '{"task": "lesion", "levels": {"lesion": {"auc": {"value": [1]}}}}',
    '{"task": "lesion", "levels": {"lesion": {"auc": {"value": 1' + "0" * 400 + "}}}}",
    '{"task": "lesion", "levels": {"lesion": "auc"}}', '{"n": ' + "9" * 5000 + "}", "\ufeff{}", "",
]  # fmt: skip


@pytest.mark.parametrize("content", ODD_REPORTS, ids=lambda content: content[:60])
def test_a_damaged_report_is_told(two_seeds: tuple[Path, list[Path]], tmp_path: Path, content: str) -> None:
    run = copy_without_networks(two_seeds[1][0], tmp_path / "output" / "tiny" / "run")
    (run / "report" / "metrics.json").write_text(content, encoding="utf-8")
    assert list_runs(tmp_path / "output") == [("tiny/\nrun", "damaged", "-", "-", "-", "-")]
    with pytest.raises(DataMissingError, match=r"metrics\.json: (is damaged \(.*\); judge again|holds no ')") as caught:
        summarise([run], "lesion")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("point", ["[]", "3", "null", '"x"'])
def test_a_report_with_an_odd_operating_point_is_listed_as_damaged(
    two_seeds: tuple[Path, list[Path]], tmp_path: Path, point: str
) -> None:
    run = copy_without_networks(two_seeds[1][0], tmp_path / "output" / "tiny" / "run")
    report = read_json(run / "report" / "metrics.json")
    assert [row[1] for row in list_runs(tmp_path / "output")] == ["8 (4)\nlesion"]
    (run / "report" / "metrics.json").write_text(
        json.dumps(report | {"operating_point": json.loads(point)}), encoding="utf-8"
    )
    assert [row[1] for row in list_runs(tmp_path / "output")] == ["damaged"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("checkpoints/best/state.json", DEEP, r"state\.json: is damaged \(nested too deep\)"),
        ("checkpoints/best/state.json", '{"epoch": [1]}', r"state\.json: is damaged"),
        ("checkpoints/best/state.json", "{}", r"state\.json: holds no 'epoch'"),
        (
            "checkpoints/best/state.json",
            '{"epoch": 77}',
            r"log\.jsonl: holds no 77; expected a line for the epoch kept, 77",
        ),
        (
            "log.jsonl",
            '{"epoch": 1, "train/auc": 0.5}\n{"epoch": 2}\n',
            r"log\.jsonl: holds no 'validation/auc'; expected a line",
        ),
        ("log.jsonl", DEEP, r"log\.jsonl: the log has no whole line"),
        (
            "log.jsonl",
            '{"epoch": 1, "train/auc": {"a": 1}}\n{"epoch": "x"}\n{"epoch": [1]}\n',
            r"log\.jsonl: the log has no whole line",
        ),
    ],
    ids=lambda value: value[:40],
)
def test_a_damaged_state_or_log_is_told(
    two_seeds: tuple[Path, list[Path]], tmp_path: Path, file: str, content: str, words: str
) -> None:
    run = copy_without_networks(two_seeds[1][0], tmp_path / "run")
    (run / file).write_text(content, encoding="utf-8")
    with pytest.raises(DataMissingError, match=words):
        summarise([run], "lesion")


def test_of_a_damaged_log_the_whole_lines_are_drawn(two_seeds: tuple[Path, list[Path]], tmp_path: Path) -> None:
    run = copy_without_networks(two_seeds[1][0], tmp_path / "run")
    whole = (run / "log.jsonl").read_text(encoding="utf-8")
    odd = [
        DEEP,
        "[1]",
        '{"epoch": 3, "train/auc": {}}',
        '{"epoch": 4, "time": {}}',
        '{"epoch": true}',
        f'{{"epoch": 5, "x/y": 1{"0" * 400}}}',
    ]
    (run / "log.jsonl").write_text(whole + "\n".join(odd), encoding="utf-8")
    log = read_log(run / "log.jsonl")
    assert log["epoch"].tolist() == [1, 2]
    assert log["train/auc"].tolist() == [json.loads(line)["train/auc"] for line in whole.splitlines()]
    (run / "log.jsonl").write_text(
        '{"epoch": 1, "train/auc": null}\n{"epoch": 2, "train/auc": 0.5}\n', encoding="utf-8"
    )
    write_curves({"run": run}, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_commands_tell_damaged_files_of_a_run_in_one_line(two_seeds: tuple[Path, list[Path]], tmp_path: Path) -> None:
    folder, runs = two_seeds
    run = shutil.copytree(runs[0], tmp_path / "run", ignore=shutil.ignore_patterns("*last*", "visualdl"))
    (run / "environment.json").write_text(DEEP, encoding="utf-8")
    assert_refused(call("eval", "--run", run, folder=folder), "environment.json: is ")
    (run / "report" / "metrics.json").write_text("[]", encoding="utf-8")
    told = "metrics.json: is damaged (expected a table of names and values, got a list)"
    assert_refused(call("eval", "--summary", run, runs[1], folder=folder), told)


def test_option_faults_are_one_line(tmp_path: Path) -> None:
    assert_refused(call("train", "--folds", "1", folder=tmp_path), "expected a whole number of at least 2, got '1'")
    assert_refused(call("eval", "--wrong", folder=tmp_path), "unrecognized arguments: --wrong")
    assert_refused(
        call("train", "--folds", "3", "-o", "data.fold=1", folder=tmp_path), "trains all folds, got also data.fold=1"
    )


def test_chinese_names_of_groups_and_files_are_drawn_without_a_warning(tmp_path: Path) -> None:
    frame = drawn_table(80, 40).assign(density=["致密", "脂肪"] * 40)
    for name in ("乳腺.csv", "other.csv"):
        frame.to_csv(tmp_path / name, index=False)
    for words in (("eval", "--scores", "乳腺.csv"), ("compare", "乳腺.csv", "other.csv")):
        done = call(*words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def test_runs_of_different_cases_are_not_compared(two_seeds: tuple[Path, list[Path]], tmp_path: Path) -> None:
    folder, runs = two_seeds
    other = copy_without_networks(runs[1], tmp_path / "other")
    table = pd.read_csv(other / "scores_test.csv", dtype=str)
    table.iloc[1:].to_csv(other / "scores_test.csv", index=False)
    assert_refused(
        call("compare", runs[0], other / "scores_test.csv", folder=folder),
        "judged on other cases: 1 of the first are missing",
    )
    assert_refused(call("compare", runs[0], other, folder=folder), "that are not the 8 of the run's test part")
    assert_refused(call("compare", runs[0], folder=folder), "expected two runs or more, got 1")
    assert_refused(call("compare", runs[0], tmp_path / "gone", folder=folder), "is neither a run folder")
    assert_refused(
        call("compare", *runs, "--level", "pixel", folder=folder),
        "--level pixel: expected one of lesion, image, breast, patient",
    )


def test_outside_scores_get_a_report_without_films(tmp_path: Path) -> None:
    theirs = drawn_table(80, 40).drop(columns="logit")
    theirs.assign(assessment=["2", "4a", "5", "", "6"] * 16).to_csv(tmp_path / "theirs.csv", index=False)
    drawn_table(80, 40).assign(score=0.5).drop(columns="logit").to_csv(tmp_path / "coin.csv", index=False)
    done = call("eval", "--scores", "theirs.csv", "--out", "judged", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "judged" / "report" / "index.html").read_text(encoding="utf-8")
    assert "the scores came from outside, without films" in page
    assert "Compared on 48 of 80 cases; left out: 16 without an assessment, 16 with BI-RADS 6" in " ".join(
        done.stdout.split()
    )
    assert all(len(line) <= 80 for line in done.stdout.splitlines() if "│" in line)
    reader = read_json(tmp_path / "judged" / "report" / "metrics.json")["reader"]
    assert (reader["levels"]["lesion"]["n"], reader["levels"]["lesion"]["of"]) == (48, 80)
    done = call("compare", "theirs.csv", "coin.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_what_is_no_assessment_is_one_line_and_exit_2(tmp_path: Path) -> None:
    drawn_table(3, 3).assign(assessment=["7", "four", "-1"]).to_csv(tmp_path / "bad.csv", index=False)
    done = call("eval", "--scores", "bad.csv", folder=tmp_path)
    assert_refused(done, "bad.csv: 3 errors")
    for line, cell in ((2, "7"), (3, "four"), (4, "-1")):
        assert f"line {line}: assessment must be a BI-RADS category 0 to 6" in done.stderr
        assert f"got '{cell}'" in done.stderr
    write_films(tmp_path, patients=4)
    manifest = pd.read_csv(tmp_path / "manifest.csv").assign(assessment=["7", "four", "-1", "4"] * 2)
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    write_config(tmp_path)
    done = call("audit", "-c", "tiny.yaml", folder=tmp_path)
    assert_refused(done, "manifest.csv: 6 errors")
    assert "line 3: assessment must be a BI-RADS assessment 0 to 6, or 4A to 4C, got 'four'" in done.stderr


def test_every_fault_of_a_score_table_is_one_line_and_exit_2(tmp_path: Path) -> None:
    frame = drawn_table(6, 3).astype({"score": object, "label": object})
    frame.loc[0, "score"], frame.loc[1, "score"], frame.loc[2, "label"] = 1.5, "nan", 7
    frame.loc[4, "case_id"] = frame.loc[3, "case_id"]
    frame.loc[4, "label"] = 1 - frame.loc[3, "label"]
    frame.to_csv(tmp_path / "bad.csv", index=False)
    done = call("eval", "--scores", "bad.csv", folder=tmp_path)
    assert_refused(done, "bad.csv: 4 errors")
    for words in (
        "line 2: score must be a probability in 0-1",
        "line 3: score",
        "line 4: label must be 0 or 1",
        "line 6: case_id",
    ):
        assert words in done.stderr
    assert "with another label" in done.stderr
    frame.drop(columns=["label", "patient_id"]).to_csv(tmp_path / "fewer.csv", index=False)
    assert_refused(call("eval", "--scores", "fewer.csv", folder=tmp_path), "column patient_id is missing")
    assert_refused(call("eval", "--scores", "bad.csv", "--data", "m.csv", folder=tmp_path), "remove one")
