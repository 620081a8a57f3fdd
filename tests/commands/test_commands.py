"""The commands as a user types them: what they print, what they write, and how bad input ends."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mammo.model.tensors import write_tensors
from tests.shared_data import SHARED, needs
from tests.tiny import SETTINGS, write_films

ROOT = Path(__file__).resolve().parents[2]


def call(tool: str, *arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools" / f"{tool}.py"), *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment, timeout=300, check=False
    )


def assert_refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    """One line on stderr, exit code 2, no traceback."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("mammo: error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr


def write_config(folder: Path) -> Path:
    import yaml

    values = yaml.safe_load(yaml.safe_dump(SETTINGS))
    values["data"]["manifest"] = "manifest.csv"
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("user's data 乳腺")
    write_films(folder)
    write_config(folder)
    done = call("train", "-c", "tiny.yaml", "-o", "training.epochs=3", folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder, done.stdout


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    write_films(tmp_path)
    write_config(tmp_path)
    return tmp_path


def test_training_tells_device_epochs_and_the_test_table(trained: tuple[Path, str]) -> None:
    _, said = trained
    first = said.splitlines()[0]
    assert first.startswith("device ")
    assert "threads" in first
    assert "BLAS" in first
    assert "epoch 3/3" in said
    assert "test part" in said
    assert "used for selection" in said
    assert all(len(line) <= 80 for line in said.splitlines() if "│" in line)


def test_eval_judges_the_newest_run_as_training_did(trained: tuple[Path, str]) -> None:
    folder, said = trained
    before = json.loads((folder / "output" / "latest" / "report" / "metrics.json").read_text(encoding="utf-8"))
    done = call("eval", folder=folder)
    assert done.returncode == 0, done.stderr
    after = json.loads((folder / "output" / "latest" / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert after == before
    assert [line for line in said.splitlines() if line.startswith("lesion")] == [
        line for line in done.stdout.splitlines() if line.startswith("lesion")
    ]


def test_eval_of_another_manifest_and_of_a_score_table(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    done = call("eval", "--data", "manifest.csv", "--out", "other", folder=folder)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "other" / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["levels"]["lesion"]["n"] == 48
    done = call("eval", "--scores", "output/latest/scores_test.csv", "--out", "third", folder=folder)
    assert done.returncode == 0, done.stderr
    ours = json.loads((folder / "output" / "latest" / "report" / "metrics.json").read_text(encoding="utf-8"))
    theirs = json.loads((folder / "third" / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert theirs["levels"]["lesion"]["auc"]["value"] == pytest.approx(ours["levels"]["lesion"]["auc"]["value"])
    assert theirs["levels"]["lesion"]["at_half"] == ours["levels"]["lesion"]["at_half"]


def test_summary_of_one_run_is_its_report(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    done = call("eval", "--summary", "output/latest", folder=folder)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((folder / "output" / "latest" / "report" / "metrics.json").read_text(encoding="utf-8"))
    line = next(line for line in done.stdout.splitlines() if line.startswith("test AUC"))
    assert f"{metrics['levels']['lesion']['auc']['value']:.3f}" in line
    assert_refused(call("eval", "--summary", "output", folder=folder), "output: is not a run folder")


def test_predict_gives_the_score_of_the_table(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    header, first = (
        line.split(",")
        for line in (folder / "output" / "latest" / "scores_test.csv").read_text(encoding="utf-8").splitlines()[:2]
    )
    row = dict(zip(header, first, strict=True))
    line = next(
        line
        for line in (folder / "manifest.csv").read_text(encoding="utf-8").splitlines()
        if f",{row['case_id']}," in line
    ).split(",")
    done = call("predict", line[0], "--box", ",".join(line[-4:]), "--run", "output/latest", folder=folder)
    assert done.returncode == 0, done.stderr
    assert f"probability of malignancy {float(row['score']):.3f}" in done.stdout
    assert "threshold" in done.stdout


def test_lesion_model_without_a_box_refuses(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    assert_refused(
        call("predict", "00_CC.png", "--run", "output/latest", folder=folder),
        "give --box x,y,width,height, or use a model of data.task=image",
    )


def test_resume_goes_on_with_the_newest_run(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    done = call("train", "--resume", "-o", "training.epochs=4", folder=folder)
    assert done.returncode == 0, done.stderr
    assert "resuming at epoch 4, after step 0 of it" in done.stdout
    assert "epoch 4/4" in done.stdout
    assert "epoch 3/4" not in done.stdout


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("decision.json", '{"threshold": "high"}', "is no decision file"),
        ("environment.json", "{}", "the run's data are not known"),
        ("checkpoints/best/hashes.json", "[]", "it is damaged: mammo train --resume"),
        ("checkpoints/best/hashes.json", "{}", "it is damaged: mammo train --resume"),
        ("config.yaml", "training: [", "is not YAML"),
    ],
)
def test_damaged_file_of_a_run_is_one_line_and_exit_2(
    trained: tuple[Path, str], tmp_path: Path, file: str, content: str, words: str
) -> None:
    folder, _ = trained
    run = tmp_path / "output" / "tiny" / "now"
    shutil.copytree((folder / "output" / "latest").resolve(), run)
    (run / file).write_text(content, encoding="utf-8")
    assert_refused(call("eval", "--run", run, folder=folder), words)


def test_closed_pipe_is_no_error(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    command = f"{sys.executable} {ROOT}/tools/audit.py -c tiny.yaml | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_box_outside_the_film_names_the_file(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    assert_refused(
        call("predict", "00_CC.png", "--box", "900,900,10,10", "--run", "output/latest", folder=folder),
        "00_CC.png: the box",
    )


def test_manifest_without_boxes_says_why_nothing_is_left(fresh: Path) -> None:
    (fresh / "manifest.csv").write_text("image,patient_id,label\n00_CC.png,P0,0\n01_CC.png,P1,1\n", encoding="utf-8")
    assert_refused(
        call("prepare", "-c", "tiny.yaml", folder=fresh),
        "no case of task lesion is left (left out: 2 × lesion has neither box nor mask)",
    )


def test_resume_keeps_what_the_run_has_learnt_from(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    assert_refused(
        call("train", "--resume", "-o", "data.context=3", folder=folder),
        "a resumed run keeps its settings: data.context was 2.0, is now 3.0",
    )


def test_eval_of_the_trainings_own_patients_is_no_test(trained: tuple[Path, str]) -> None:
    folder, _ = trained
    done = call("eval", "--data", "manifest.csv", "--out", "again", folder=folder)
    assert "Not an independent test: patients that this run trained or chose on are among them: 20" in done.stdout


def test_failed_start_leaves_no_run_folder(fresh: Path) -> None:
    assert_refused(
        call("train", "-c", "tiny.yaml", "-o", "model.pretrained=none.pdparams", folder=fresh), "none.pdparams"
    )
    assert not (fresh / "output" / "tiny").exists()


def test_prepare_and_audit_say_what_is_there(fresh: Path) -> None:
    done = call("prepare", "-c", "tiny.yaml", "--preview", "8", folder=fresh)
    assert done.returncode == 0, done.stderr
    assert "prepared: 48 views of 48 cases" in done.stdout
    assert (fresh / "output" / "preview.png").is_file()
    done = call("audit", "-c", "tiny.yaml", folder=fresh)
    assert done.returncode == 0, done.stderr
    assert "patients in more than one part: 0" in done.stdout


def test_dry_run_writes_nothing(fresh: Path) -> None:
    before = sorted(path.name for path in fresh.iterdir())
    stages = (
        "-o",
        "training.epochs=4",
        "-o",
        "training.freeze.until_epoch=[1]",
        "-o",
        "training.smaller=[{factor: 0.5, until_epoch: 2}]",
    )
    done = call("train", "-c", "tiny.yaml", "--dry-run", *stages, folder=fresh)
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in re.findall(r"s a step in (\d) of the epochs", done.stdout)] == [1, 1, 2]
    for words in ("parameters: backbone", "batch: image [8, 1, 1, 32, 32]", "time:", "memory:", "validation"):
        assert words in done.stdout
    assert sorted(path.name for path in fresh.iterdir()) == before


def test_print_config_is_the_config(fresh: Path) -> None:
    done = call("train", "-c", "tiny.yaml", "-o", "training.epochs=7", "--print-config", folder=fresh)
    assert done.returncode == 0
    assert "epochs: 7" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "training.epoch=3"], "did you mean training.epochs?"),
        (["-o", "training.epochs=soon"], "training.epochs"),
        (["-o", "data.manifest=none.csv"], "none.csv: there is no such file"),
        (["-o", "data.manifest=none.csv", "-o", "model.pretrained=none.pdparams"], "none.csv: there is no such file"),
        (["-o", "data.kind=phantom"], "data.manifest is set, but data.kind is phantom, which generates its films"),
        (["-o", "data.kind=cbis_ddsm", "-o", "data.root=nowhere"], "get CBIS-DDSM"),
        (["-o", "training.batch_size=500"], "fewer than one batch of 500"),
        (["-o", "data.fractions=[0.5, 0.0, 0.5]"], "part validation is empty"),
        (["-o", "model.backbone=ResNet49_vd"], "ResNet"),
        (["-o", "model.pretrained=none.pdparams"], "none.pdparams: the weight file is not there"),
        (
            ["-o", "training.early_stopping.monitor=validation/acu"],
            "training.early_stopping: monitor must be last, or train/… or validation/…",
        ),
        (["-o", "device=gpu"], "gpu"),
        (["-o", "training.early_stopping.monitor=validation/loss"], "mode max would choose the worst epoch"),
        (["-o", "data.lesion_types=[]"], "data.lesion_types"),
        (["-o", "augmentation=[{name: noise, noise_std: [0.2, 0.1]}]"], "noise_std must be [low, high]"),
        (["-o", "evaluation.operating_point=0.3>=5"], "expected recall>=R"),
        (["-o", "training.stage_lr_factors=[1, 1, 1, 1, 1, 1]"], "has 5 stages, got 6 values"),
        (["-o", "output=/proc/nothing"], "/proc/nothing"),
        (["--resume"], "has no run yet"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(fresh: Path, arguments: list[str], words: str) -> None:
    assert_refused(call("train", "-c", "tiny.yaml", *arguments, folder=fresh), words)


def test_missing_column_is_one_line_and_exit_2(fresh: Path) -> None:
    path = fresh / "manifest.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("patient_id", "patient", 1), encoding="utf-8")
    assert_refused(
        call("train", "-c", "tiny.yaml", folder=fresh), "column patient_id is missing (there is 'patient'; rename it?)"
    )


def test_one_class_is_one_line_and_exit_2(tmp_path: Path) -> None:
    write_films(tmp_path, one_class=True)
    write_config(tmp_path)
    assert_refused(call("train", "-c", "tiny.yaml", folder=tmp_path), "part train has one class only")


def test_unreadable_image_is_one_line_and_exit_2(fresh: Path) -> None:
    (fresh / "03_MLO.png").write_bytes((fresh / "03_MLO.png").read_bytes()[:300])
    assert_refused(call("train", "-c", "tiny.yaml", folder=fresh), "03_MLO.png")


def test_leaking_split_is_one_line_and_exit_2_in_audit_and_training(fresh: Path) -> None:
    path = fresh / "manifest.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    parts = ["split", *["train", "test"] * ((len(lines) - 1) // 2)]
    path.write_text(
        "\n".join(f"{line},{part}" for line, part in zip(lines, parts, strict=True)) + "\n", encoding="utf-8"
    )
    for tool in ("audit", "train"):
        assert_refused(
            call(tool, "-c", "tiny.yaml", "-o", "data.split=manifest", folder=fresh),
            "24 patients are in more than one part (P00, P01",
        )


def test_same_film_under_two_names_is_found_by_the_audit(fresh: Path) -> None:
    for number in range(1, 24):
        (fresh / f"{number:02d}_CC.png").write_bytes((fresh / "00_CC.png").read_bytes())
    done = call("audit", "-c", "tiny.yaml", folder=fresh)
    assert_refused(done, "the same film is in more than one part, under the patients P00, P01")
    assert "films with the very same content: 1 (00_CC.png = 01_CC.png" in done.stdout


def test_truncated_and_wrong_shaped_weights_are_one_line_and_exit_2(fresh: Path) -> None:
    from mammo.model.backbone import build_features

    own = {
        name: value.numpy() for name, value in build_features("ResNet18_vd", in_channels=1).network.state_dict().items()
    }
    first = next(iter(own))
    write_tensors(fresh / "wrong.safetensors", own | {first: np.zeros((3, 3), np.float32)})
    write_tensors(fresh / "good.safetensors", own)
    (fresh / "cut.safetensors").write_bytes((fresh / "good.safetensors").read_bytes()[:-100])
    assert_refused(
        call("train", "-c", "tiny.yaml", "-o", "model.pretrained=wrong.safetensors", folder=fresh), "of another shape"
    )
    assert_refused(
        call("train", "-c", "tiny.yaml", "-o", "model.pretrained=cut.safetensors", folder=fresh), "cut.safetensors"
    )


@needs("cbis_ddsm_csv")
def test_audit_of_the_official_csvs_names_the_31_patients(tmp_path: Path) -> None:
    done = call("audit", "--csv", SHARED / "cbis_ddsm_csv", folder=tmp_path)
    assert_refused(done, "31 patients are in more than one part (P_00016, P_00041")
    assert "patients in more than one part: 31" in done.stdout
