"""Exports: every engine gives the run's scores, predictions are complete CSVs, damage is reported in one line."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mammo.errors import WeightsError
from mammo.images.preprocess import PreprocessSettings
from mammo.inference.load import load_run, predict_with_remarks
from mammo.model.network import build_network
from mammo.prepare.gather import gather_split, prepare_split
from mammo.runtime import paddle
from mammo.serving import export as exporting
from mammo.serving.engines import ENGINES, installed_engines, open_engine
from mammo.serving.export import CLOSE_ENOUGH
from mammo.serving.export_description import read_description
from mammo.serving.predictor import open_export
from tests.processes import call, command, ended, refused, start, trained_run, wait_until
from tests.tiny import write_films

pytest.importorskip("paddle2onnx", reason="needs the extra export")
TASKS = ("lesion", "image", "breast")
# Enough training for scores to differ from film to film: otherwise equal scores would prove nothing.
SHORT = {
    "training__epochs": 3,
    "training__ema_decay": 0,
    "training__optimizer": {"learning_rate": 3e-3},
    "model__backbone": "ResNet18_vd",
    "evaluation__test_time": {"flips": "horizontal"},
}


@pytest.fixture(scope="module")
def runs(films: Path) -> dict[str, Path]:
    return {task: trained_run(films, task, data__task=task, **SHORT) for task in TASKS}


@pytest.fixture(scope="module")
def exports(runs: dict[str, Path]) -> dict[str, Path]:
    for run in runs.values():
        done = call(command("export", run, "--images", "20"))
        assert (done.returncode, done.stderr) == (0, "")
        assert "onnxruntime" in done.stdout
    return {task: run / "export" for task, run in runs.items()}


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", TASKS)
def test_every_engine_is_compared_and_the_export_describes_the_run(
    exports: dict[str, Path], runs: dict[str, Path], task: str
) -> None:
    assert np.ptp([float(row["logit"]) for row in rows_of(runs[task] / "scores_test.csv")]) > 10 * CLOSE_ENOUGH
    description = read_description(exports[task])
    assert set(description.parity) == set(installed_engines()) >= {"onnxruntime", "paddle"}
    for parity in description.parity.values():
        assert parity.images == 20
        assert 0 < parity.largest_difference < CLOSE_ENOUGH
    assert description.task == task
    assert description.form.views == (2 if task == "breast" else 1)
    assert description.form.preprocess == PreprocessSettings.from_data(load_run(runs[task]).settings.data)
    assert description.decision == load_run(runs[task]).decision
    metrics = json.loads((runs[task] / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert description.results[task] == metrics["levels"][task]


@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("task", TASKS)
def test_a_file_scores_as_by_the_checkpoint(
    exports: dict[str, Path], runs: dict[str, Path], films: Path, task: str, engine: str
) -> None:
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    predictor, run = open_export(exports[task], engine=engine, threads=1), load_run(runs[task])
    for row in rows_of(films / "manifest.csv")[:6]:
        box = tuple(float(row[name]) for name in ("x", "y", "width", "height")) if task == "lesion" else None
        (found,) = predictor.predict(films / row["image"], (box,))
        score, _ = predict_with_remarks(run, films / row["image"], box=box)
        assert found.score == pytest.approx(score, abs=CLOSE_ENOUGH / 4)
        assert found.called == (found.score >= run.decision.threshold)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_breasts_with_one_film_are_scored_as_by_the_checkpoint(
    exports: dict[str, Path], runs: dict[str, Path], engine: str
) -> None:
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    draw = np.random.default_rng(3)
    image = draw.normal(size=(5, 2, 1, 32, 32)).astype(np.float32)
    present = np.array([[1, 1], [1, 0], [0, 1], [1, 1], [1, 0]], bool)
    image[~present] = 0
    with paddle.no_grad():
        both = load_run(runs["breast"]).network(paddle.to_tensor(image), paddle.to_tensor(present)).numpy()
    logits = open_engine(exports["breast"], engine, threads=1)(image, present)
    assert logits == pytest.approx(both[:, 1].astype(float) - both[:, 0], abs=CLOSE_ENOUGH)


def test_a_folder_is_scored_to_a_csv_and_bad_files_are_rows(
    exports: dict[str, Path], runs: dict[str, Path], films: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(
        films, tmp_path / "films", ignore=shutil.ignore_patterns("*.yaml", "image", "lesion", "breast", "store")
    )
    (folder / "broken.png").write_bytes((films / "00_CC.png").read_bytes()[:200])
    (folder / "empty.dcm").write_bytes(b"")
    line = command("predict", folder, "--export", exports["image"], "--out", tmp_path / "scores.csv", "--workers", "2")
    message = refused(call(line), "2 of 50 rows have no score", "broken.png")
    assert str(folder / "broken.png") in message
    rows = {Path(row["file"]).name: row for row in rows_of(tmp_path / "scores.csv")}
    assert [Path(row["file"]).name for row in rows_of(tmp_path / "scores.csv")] == sorted(rows)
    assert sorted(name for name, row in rows.items() if row["error"]) == ["broken.png", "empty.dcm"]
    run = load_run(runs["image"])
    for name in ("00_CC.png", "11_MLO.png", "23_CC.png"):
        score, _ = predict_with_remarks(run, films / name)
        assert float(rows[name]["score"]) == pytest.approx(score, abs=CLOSE_ENOUGH / 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films", "scores.csv"]
    refused(call(line), "scores.csv: is there already")


def test_lesions_of_a_manifest_score_as_in_the_run_s_own_table(
    exports: dict[str, Path], runs: dict[str, Path], films: Path
) -> None:
    done = call(command("predict", "--boxes", films / "manifest.csv", "--export", exports["lesion"], "--workers", "1"))
    assert done.returncode == 0, done.stderr
    rows = {(Path(row["file"]).name, float(row["x"])): row for row in csv.DictReader(done.stdout.splitlines())}
    assert len(rows) == 48
    scores = {row["case_id"]: row for row in rows_of(runs["lesion"] / "scores_test.csv")}
    for row in rows_of(films / "manifest.csv"):
        if row["lesion_id"] in scores:
            expected = scores[row["lesion_id"]]
            found = rows[row["image"], float(row["x"])]
            assert float(found["logit"]) == pytest.approx(float(expected["logit"]), abs=CLOSE_ENOUGH)
            assert float(found["score"]) == pytest.approx(float(expected["score"]), abs=CLOSE_ENOUGH / 4)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_nothing_but_rows_is_printed_on_standard_output(exports: dict[str, Path], films: Path, engine: str) -> None:
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    film = films / "00_CC.png"
    done = call(command("predict", film, "--export", exports["image"], "--engine", engine))
    header, row = done.stdout.splitlines()  # paddle 3.3.1 would print a line between them
    assert header.startswith("file,x,y,width,height,logit,score,")
    assert row.startswith(f"{film},,,,,")


@pytest.mark.skipif(not paddle.__version__.startswith("2."), reason="paddle 3 reads what paddle 3 wrote")
def test_a_program_of_paddle_3_is_refused_by_paddle_2(tmp_path: Path) -> None:
    (tmp_path / "network.json").write_text("{}", encoding="utf-8")
    with pytest.raises(
        WeightsError,
        match=r"network\.json: was written by paddle 3, and this is 2\..*; export the run again, or take another",
    ):
        open_engine(tmp_path, "paddle", threads=1)


def test_a_lesion_off_its_film_is_its_own_error(exports: dict[str, Path], films: Path, tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text(
        f"image,x,y,width,height\n{films}/00_CC.png,30,30,16,16\n{films}/00_CC.png,900,30,16,16\n", encoding="utf-8"
    )
    done = call(command("predict", "--boxes", table, "--export", exports["lesion"]))
    assert done.returncode == 2
    good, bad = csv.DictReader(done.stdout.splitlines())
    assert good["error"] == ""
    assert bad["score"] == ""
    assert "00_CC.png" in bad["error"]


def test_a_killed_prediction_continues_and_ends_with_the_same_file(exports: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    write_films(folder, patients=150)

    def line(out: str) -> list[str]:
        return command("predict", folder, "--export", exports["image"], "--out", tmp_path / out, "--workers", "2")

    assert call(line("whole.csv")).returncode == 0
    part = tmp_path / "killed.csv.part"
    for goal in (20, 90, 200):
        process = start(line("killed.csv"))
        assert wait_until(process, lambda goal=goal: part.exists() and part.read_bytes().count(b"\n") >= goal)
        process.send_signal(signal.SIGKILL)
        ended(process)
        assert not (tmp_path / "killed.csv").exists()
    done = call(line("killed.csv"))
    assert done.returncode == 0, done.stderr
    assert "of 300 films are scored already" in done.stderr
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films", "killed.csv", "whole.csv"]


def test_rows_of_another_network_are_not_mixed_in(exports: dict[str, Path], films: Path, tmp_path: Path) -> None:
    (tmp_path / "scores.csv.part").write_text("x,,,,,1,0.7,yes,\n", encoding="utf-8")
    (tmp_path / "scores.csv.part.of").write_text('{"made_by": "another"}', encoding="utf-8")
    line = command("predict", films / "00_CC.png", "--export", exports["image"], "--out", tmp_path / "scores.csv")
    refused(call(line), "scores.csv.part: is of another network, engine or pixel aspect")


@pytest.mark.parametrize("name", ["network.onnx", "network.pdiparams", "export_description.json"])
def test_a_flipped_byte_in_an_export_is_reported_with_its_file(
    exports: dict[str, Path], films: Path, tmp_path: Path, name: str
) -> None:
    copy = shutil.copytree(exports["image"], tmp_path / "export")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2 if name != "export_description.json" else 3] ^= 0x10
    (copy / name).write_bytes(content)
    refused(call(command("predict", films / "00_CC.png", "--export", copy)), name)


def test_the_program_of_another_network_is_refused(exports: dict[str, Path], runs: dict[str, Path]) -> None:
    run = load_run(runs["image"])
    proof = exporting.prove(run, prepare_split(run.settings, gather_split(run.settings)), 10)
    assert exporting.compare(exports["image"], "onnxruntime", proof).largest_difference < CLOSE_ENOUGH
    paddle.seed(5)
    other, _ = build_network(run.settings.model, task="image")
    run.network.set_state_dict(other.state_dict())
    proof = exporting.prove(run, prepare_split(run.settings, gather_split(run.settings)), 10)
    with pytest.raises(
        WeightsError, match=r"onnxruntime gives other logits than the checkpoint, by up to .* on 10 images"
    ):
        exporting.compare(exports["image"], "onnxruntime", proof)


def test_an_export_of_an_earlier_version_is_refused_in_one_line(
    exports: dict[str, Path], films: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(exports["image"], tmp_path / "export")
    (copy / "export_description.json").rename(copy / "manifest.json")
    words = "is an export of an earlier version", "export the run again: mammo export RUN"
    refused(call(command("predict", films / "00_CC.png", "--export", copy)), *words)


def test_export_is_not_written_over_another(exports: dict[str, Path], runs: dict[str, Path]) -> None:
    refused(call(command("export", runs["image"])), "export: expected a name that is free")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--export", "{image}"), "expected films, folders or --boxes CSV, got none"),
        (("{films}", "--export", "{lesion}"), "give --boxes CSV instead of paths"),
        (("{films}", "--export", "{image}", "--box", "1,2,3,4"), "this model scores whole films"),
        (
            ("{films}/00_CC.png", "--export", "{image}", "--engine", "magic"),
            f"engine magic: expected auto, {', '.join(ENGINES)}",
        ),
        (
            ("{films}/00_CC.png", "--export", "{films}"),
            "export_description.json: is missing; expected a folder that mammo export made",
        ),
        (("{films}/nowhere", "--export", "{image}"), "nowhere: there is no such file or folder"),
        (("{films}/00_CC.png", "--out", "x.csv"), "--out: only for an exported network"),
    ],
)
def test_wrong_options_are_one_line(
    exports: dict[str, Path], runs: dict[str, Path], films: Path, options: tuple[str, ...], words: str
) -> None:
    given = [option.format(films=films, image=exports["image"], lesion=exports["lesion"]) for option in options]
    run = () if "--export" in given else ("--run", runs["image"])
    refused(call(command("predict", *given, *run)), words)


def test_an_export_scores_a_film_without_paddle(exports: dict[str, Path], films: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from mammo.serving.predictor import open_export; "
        "(found,) = open_export(Path(sys.argv[1]), threads=1).predict(Path(sys.argv[2])); "
        "print(found.score, 'paddle' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, exports["image"], films / "00_CC.png"], capture_output=True, text=True, check=True
    )
    assert done.stdout.split()[1] == "False"
