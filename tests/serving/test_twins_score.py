"""One image in every lossless form gets one score, to the last bit, from a trained network, by every way to ask."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from mammo.images.sandbox.decode import end_processes
from mammo.inference.load import LoadedRun, load_run, predict_with_remarks
from mammo.settings.load import load_settings
from mammo.training.fit import fit
from tests.images.dicom_files import film_dataset, saved
from tests.images.lossless_twins import TWINS, write_twins
from tests.images.test_real_dicom import JPEG_EXTRA
from tests.images.workers import on_linux, workers_of
from tests.processes import call, command
from tests.tiny import film, tiny_settings, write_films

pytestmark = pytest.mark.slow
BOX = (22.0, 32.0, 16.0, 16.0)
READABLE = tuple(name for name in TWINS if JPEG_EXTRA or "jpeg_lossless" not in name)


def benign_film() -> np.ndarray:
    """uint16 [96, 80] of 12 bits: a disc around (30, 40)."""
    return film(np.random.default_rng(3), 30, 40, 0) >> 4


def with_another_lesion(pixels: np.ndarray) -> np.ndarray:
    """The same film, a bright cross over its disc."""
    changed = pixels.copy()
    cv2.line(changed, (23, 40), (37, 40), 3900.0, 2)
    cv2.line(changed, (30, 33), (30, 47), 3900.0, 2)
    return changed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films to learn from, `twins` of one other film, and `others` of that film with another lesion."""
    folder = tmp_path_factory.mktemp("twins")
    write_films(folder)
    write_twins(benign_film(), folder / "twins")
    write_twins(with_another_lesion(benign_film()), folder / "others")
    return folder


@pytest.fixture(scope="module", params=["lesion", "image"])
def run(request: pytest.FixtureRequest, folder: Path) -> LoadedRun:
    """A network trained enough to tell films apart, without averaged weights and without calibration."""
    how = {"training__epochs": 3, "training__ema_decay": 0, "evaluation": {"resamples": 100, "calibration": "none"}}
    settings = tiny_settings(folder, output=str(folder / request.param), data__task=request.param, **how)
    return load_run(fit(settings, "tiny").run)


def scores(run: LoadedRun, films: Path, names: Sequence[str] = READABLE) -> dict[str, float]:
    box = BOX if run.settings.data.task == "lesion" else None
    return {name: predict_with_remarks(run, films / f"{name}.dcm", box=box)[0] for name in names}


def test_all_twins_have_one_score_and_another_lesion_has_another(run: LoadedRun, folder: Path) -> None:
    twins, others = scores(run, folder / "twins"), scores(run, folder / "others")
    assert len(twins) >= 9
    assert twins == dict.fromkeys(READABLE, twins["explicit"])
    assert others == dict.fromkeys(READABLE, others["explicit"])
    # Only this much: how sure a network of three epochs is differs between machines.
    assert abs(twins["explicit"] - others["explicit"]) > 1e-4


def test_one_gray_value_of_a_few_pixels_is_another_score(run: LoadedRun, folder: Path, tmp_path: Path) -> None:
    """Equal scores mean equal pixels: the network does not give every film the same score."""
    pixels = benign_film()
    pixels[38:44, 28:34] += 1
    saved(film_dataset(pixels), tmp_path / "explicit.dcm")
    assert scores(run, tmp_path, ["explicit"]) != scores(run, folder / "twins", ["explicit"])


@on_linux
def test_untrusted_twins_have_the_score_of_trusted_ones(run: LoadedRun, folder: Path) -> None:
    trusted = scores(run, folder / "twins")
    end_processes()
    untrusted = load_run(run.folder, settings=load_settings(run.folder / "config.yaml", ["data.untrusted=true"]))
    assert scores(untrusted, folder / "twins") == trusted
    assert workers_of()  # the sandbox did decode them
    end_processes()


def test_command_gives_all_twins_one_score(run: LoadedRun, folder: Path) -> None:
    box = ["--box", ",".join(map(str, BOX))] if run.settings.data.task == "lesion" else []
    names = READABLE[:2] if box else READABLE  # a box belongs to one film: a command for each
    paths = [folder / films / f"{name}.dcm" for films in ("twins", "others") for name in names]
    assert "explicit" in names
    said = {}
    for asked in [[path] for path in paths] if box else [paths]:
        done = call(command("predict", *asked, *box, "--run", run.folder))
        assert done.returncode == 0, done.stderr
        said |= dict(line.split(": ", 1) for line in done.stdout.splitlines() if line.startswith(str(folder)))
    assert list(said) == [str(path) for path in paths]
    assert {said[str(path)] for path in paths if path.parent.name == "twins"} == {
        said[str(folder / "twins" / "explicit.dcm")]
    }
    assert (
        f"probability of malignancy {scores(run, folder / 'twins')['explicit']:.3f};"
        in said[str(folder / "twins" / "explicit.dcm")]
    )


def test_manifest_of_twins_has_one_score(run: LoadedRun, folder: Path) -> None:
    rows = ["image,patient_id,laterality,view,lesion_id,lesion_type,label,x,y,width,height"]
    for label, films in enumerate(("twins", "others")):
        where = ",".join(str(int(value)) for value in BOX)
        rows += [f"{films}/{name}.dcm,{films},LEFT,CC,{films} {name},mass,{label},{where}" for name in READABLE]
    (folder / "all twins.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    out = run.folder.parent / "judged"
    done = call(command("eval", "--run", run.folder, "--data", folder / "all twins.csv", "--out", out))
    assert done.returncode == 0, (done.stdout, done.stderr)
    table = pd.read_csv(out / "scores_test.csv", float_precision="round_trip")
    assert len(table) == 2 * len(READABLE)
    by_film = {
        patient: set(zip(group["logit"], group["score"], strict=True)) for patient, group in table.groupby("patient_id")
    }
    assert [len(found) for found in by_film.values()] == [1, 1]
    assert by_film["twins"] != by_film["others"]
