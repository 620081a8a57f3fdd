"""Tests that no command writes a word of a DICOM header: each runs on films with secrets; its output is searched."""

import base64
import gzip
import io
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from tests.deidentify.secret_films import DAMAGED, PATIENTS, WORDS, secrets_below, secrets_in, write_secret_films
from tests.processes import call, command, refused
from tests.tiny import tiny_settings

NAME = "Zyxwvütska^Secretiana"


@dataclass(frozen=True)
class Outputs:
    """A folder in which commands ran, and what each command printed."""

    folder: Path
    task: str
    printed: dict[str, subprocess.CompletedProcess]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_secret_films(tmp_path_factory.mktemp("data") / "films").parent


@pytest.fixture(scope="module", params=["lesion", "image"])
def outputs(request: pytest.FixtureRequest, films: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """Run all of a user's commands: a lesion model of trusted films, an image model of untrusted films."""
    folder, task = tmp_path_factory.mktemp("work"), request.param
    config = write_config(folder, films, task)
    lines: dict[str, list[str | Path]] = {"prepare": ["-c", config, "--preview", "8"], "train": ["-c", config]}
    if task == "lesion":
        lines["audit"] = ["-c", config]
        lines["eval"] = ["-o", "evaluation.test_time.flips=both", "--out", "again"]
        lines["compare"] = ["output/latest/scores_test.csv", "again/scores_test.csv"]
    else:
        lines["eval"] = ["--data", films / "manifest.csv", "--out", "again"]
    lines["predict"] = [films / "00_CC.dcm", *([films / "01_MLO.dcm"] if task == "image" else []), *box_of(task)]
    return Outputs(folder, task, {tool: in_folder(folder, tool, *options) for tool, options in lines.items()})


def box_of(task: str) -> list[str]:
    return ["--box", "20,20,16,16"] if task == "lesion" else []


def write_config(folder: Path, films: Path, task: str, **changes: object) -> Path:
    how: dict[str, object] = {
        "model__backbone": "vision:mobilenet_v3_small",
        "training__epochs": 1,
        "evaluation": {"resamples": 100},
    }
    how |= {
        "output": str(folder / "output"),
        "data__task": task,
        "data__untrusted": task == "image",
        "data__bad_images": "exclude",
    }
    path = folder / "tiny.yaml"
    path.write_text(tiny_settings(films, **(how | changes)).model_dump_json(), encoding="utf-8")
    return path


def in_folder(folder: Path, tool: str, *options: str | Path) -> subprocess.CompletedProcess:
    """Run a command with its temporary files in the folder, and with every warning of a library shown."""
    (folder / "temporary").mkdir(exist_ok=True)
    return call(
        command(tool, *options),
        cwd=folder,
        environment={"PYTHONWARNINGS": "always", "TMPDIR": str(folder / "temporary")},
    )


def printed_secrets(done: subprocess.CompletedProcess) -> set[str]:
    return secrets_in((done.stdout + done.stderr).encode())


def zipped(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", text * 20)
    return file.getvalue()


def png_of(text: str) -> bytes:
    file, notes = io.BytesIO(), PngImagePlugin.PngInfo()
    notes.add_itxt("Comment", text, zip=True)
    Image.new("L", (8, 8)).save(file, "png", pnginfo=notes)
    return file.getvalue()


ENCODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "two bytes a letter": lambda text: text.encode("utf-16"),
    "small letters": lambda text: text.replace("Z", "z").replace("S", "s").encode(),
    "escaped": lambda text: ascii(text).encode(),
    "of one family": lambda text: text.split("^")[0].encode("latin-1"),
    "zip": zipped,
    "gzip": lambda text: gzip.compress(text.encode()),
    "picture": png_of,
    "picture in a record": lambda text: b"\x0a\x05" + png_of(text) + b"\x12",
    "picture in a page": lambda text: b'<img src="data:image/png;base64,' + base64.b64encode(png_of(text)) + b'">',
}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_search_finds_a_name_in_every_encoding(encode: Callable[[str], bytes]) -> None:
    assert "Zyxwvütska" in secrets_in(encode(NAME))
    assert secrets_in(encode("CASE07^L07_MLO")) == set()


def test_search_finds_dates_as_people_write_them() -> None:
    assert [secrets_in(text) for text in (b"born 1943-02-17", b"17 Feb 1943", b"02/17/1943")] == [{"19430217"}] * 3


def test_search_finds_file_names(tmp_path: Path) -> None:
    (tmp_path / "QQ778899ZZ" / "x").mkdir(parents=True)
    (tmp_path / "QQ778899ZZ" / "x" / "a.txt").write_text("Mumblesby", encoding="utf-8")
    assert secrets_below(tmp_path) == {
        "QQ778899ZZ": {"QQ778899ZZ"},
        "QQ778899ZZ/x": {"QQ778899ZZ"},
        "QQ778899ZZ/x/a.txt": {"QQ778899ZZ", "Mumblesby"},
    }


def test_search_finds_every_secret_in_every_film(films: Path) -> None:
    found = secrets_below(films)
    whole = [words for name, words in found.items() if Path(name).stem not in DAMAGED]
    assert len(whole) == 2 * PATIENTS
    assert all(words == set(WORDS) for words in whole)
    assert {f"{name}.dcm" for name in DAMAGED} <= set(found)
    assert "manifest.csv" not in found


@pytest.mark.slow
def test_commands_succeed_on_films_with_secrets(outputs: Outputs) -> None:
    """Check that there is something to search: pseudonyms, pictures, records, weights, and excluded films."""
    for tool, done in outputs.printed.items():
        assert done.returncode == 0, (tool, done.stdout, done.stderr)
    assert "cut_in_header.dcm" in outputs.printed["prepare"].stdout
    names = {path.name for path in outputs.folder.rglob("*") if path.is_file()}
    assert names >= {
        "index.html",
        "metrics.json",
        "model_card.md",
        "checklist.md",
        "preview.png",
        "config.yaml",
        "scores_test.csv",
    }
    assert names >= {
        "network.safetensors",
        "state.json",
        "log.jsonl",
        "split.csv",
        "excluded.csv",
        "index.jsonl",
        "vdlrecords.run.log",
    }
    assert outputs.task != "lesion" or names >= {"compare.json", "compare.png"}
    assert "CASE00" in (outputs.folder / "output" / "latest" / "split.csv").read_text(encoding="utf-8")


@pytest.mark.slow
def test_no_secret_is_printed(outputs: Outputs) -> None:
    assert [(tool, printed_secrets(done)) for tool, done in outputs.printed.items() if printed_secrets(done)] == []


@pytest.mark.slow
def test_no_secret_is_written(outputs: Outputs) -> None:
    assert secrets_below(outputs.folder) == {}


@pytest.mark.slow
def test_nothing_is_written_beside_the_films(outputs: Outputs, films: Path) -> None:
    assert len(list(films.iterdir())) == 2 * PATIENTS + len(DAMAGED) + 1


@pytest.mark.slow
def test_prediction_of_a_damaged_film_names_the_file_only(
    outputs: Outputs, films: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = {"lesion": "cut_in_header.dcm", "image": "cut_in_pixels.dcm"}[outputs.task]
    folder = tmp_path_factory.mktemp("prediction")
    done = in_folder(
        folder,
        "predict",
        films / damaged,
        *box_of(outputs.task),
        "--run",
        (outputs.folder / "output" / "latest").resolve(),
    )
    refused(done, f"{damaged}: damaged or cut-short DICOM file")
    assert printed_secrets(done) == set()
    assert secrets_below(folder) == {}


@pytest.mark.parametrize(("tool", "task"), [("prepare", "lesion"), ("train", "image")])
def test_damaged_films_end_a_command_without_a_secret(
    films: Path, tmp_path_factory: pytest.TempPathFactory, tool: str, task: str
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    done = in_folder(folder, tool, "-c", write_config(folder, films, task, data__bad_images="refuse"))
    refused(done, "images: 3 errors: ", *(f"{name}.dcm: " for name in DAMAGED))
    assert printed_secrets(done) == set()
    assert secrets_below(folder) == {}
