"""The command `mammo`: its verbs, its help, the shipped settings, and what it does not import."""

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mammo.commands.main import VERBS, overview
from mammo.commands.shared import config_file, shipped_configs

ROOT = Path(__file__).resolve().parents[2]


def mammo(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "mammo", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return subprocess.run(line, capture_output=True, text=True, cwd=folder, env=environment, timeout=120, check=False)


def test_verbs_are_the_files_of_the_commands_and_tools() -> None:
    files = {path.stem for path in (ROOT / "mammo" / "commands").glob("*.py")}
    assert files - {"__init__", "main", "shared"} == set(VERBS)
    assert {path.stem for path in (ROOT / "tools").glob("*.py")} == set(VERBS) - {"configs"}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_options_and_says_what_it_does(verb: str) -> None:
    command = importlib.import_module(f"mammo.commands.{verb}")
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    assert callable(command.main)
    assert len(parser._actions) > 1
    assert f"mammo {verb}" in (command.add_options.__doc__ or "")


def test_help_shows_all_verbs_on_one_screen(tmp_path: Path) -> None:
    done = mammo("--help", folder=tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert done.stdout == overview() + "\n"
    assert [verb for verb in VERBS if not any(line.startswith(f"  {verb} ") for line in lines)] == []
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_help_imports_none_of_the_libraries() -> None:
    code = (
        "import sys; sys.argv = ['mammo']; from mammo.commands.main import main\ntry:\n    main()\nexcept SystemExit:\n"
    )
    code += "    print([name for name in ('numpy', 'pydantic', 'yaml', 'paddle') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("line", [["trian"], ["train", "--epochs", "3"], ["predict", "--box", "1,2,3"], ["bench", "x"]])
def test_wrong_options_are_one_line_and_code_2(line: list[str], tmp_path: Path) -> None:
    done = mammo(*line, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("mammo: error: ")
    assert done.stderr.count("\n") == 1
    assert "--help" in done.stderr


def test_version_is_the_packages(tmp_path: Path) -> None:
    from mammo import __version__

    assert mammo("--version", folder=tmp_path).stdout == f"mammo {__version__}\n"


def test_shipped_settings_are_those_of_configs() -> None:
    assert {name: path.read_bytes() for name, path in shipped_configs().items()} == {
        path.stem: path.read_bytes() for path in (ROOT / "configs").glob("*.yaml")
    }


def test_settings_are_found_by_name_unless_a_file_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_file("quickstart") == shipped_configs()["quickstart"]
    assert config_file("quickstart.yaml") == Path("quickstart.yaml")
    Path("quickstart").write_text("seed: 1\n", encoding="utf-8")
    assert config_file("quickstart") == Path("quickstart")


def test_configs_lists_all_and_copies_one(tmp_path: Path) -> None:
    listed = mammo("configs", folder=tmp_path).stdout
    assert [name for name in shipped_configs() if f"{name}\n" not in listed] == []
    assert mammo("configs", "quickstart", folder=tmp_path).returncode == 0
    copy = (tmp_path / "quickstart.yaml").read_text(encoding="utf-8")
    assert copy == (ROOT / "configs" / "quickstart.yaml").read_text(encoding="utf-8")
    again = mammo("configs", "quickstart", folder=tmp_path)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "quickstart.yaml: already exists" in again.stderr
    assert "expected one of mobilenet_lesion, " in mammo("configs", "nix", folder=tmp_path).stderr


def test_settings_by_name_print_what_the_file_says(tmp_path: Path) -> None:
    done = mammo("train", "-c", "quickstart", "--print-config", folder=tmp_path)
    said = yaml.safe_load(done.stdout)
    assert said["model"]["backbone"] == "ResNet18_vd"
    assert said["data"]["image_size"] == [64, 64]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["data.kind=cbis"],
            "data.kind: expected one of cbis_ddsm, manifest, phantom, got 'cbis'; did you mean cbis_ddsm?",
        ),
        (["data.kind=cbis_ddsm"], "kind cbis_ddsm needs data.root, the folder that holds CBIS-DDSM"),
        (["data.kind=manifest"], "kind manifest needs data.manifest, the path of a CSV file"),
    ],
)
def test_data_sets_that_cannot_be_read_are_refused_first(overrides: list[str], message: str, tmp_path: Path) -> None:
    for verb in ("train", "prepare", "audit"):
        done = mammo(verb, *(word for override in overrides for word in ("-o", override)), folder=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert message in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["/venv/bin/mammo", "train", "-c", "a b"], ["mammo", "train", "-c", "a b"]),
        (["/checkout/mammo/__main__.py", "eval"], ["mammo", "eval"]),
        (["tools/train.py", "-c", "x"], ["python", "tools/train.py", "-c", "x"]),
    ],
)
def test_command_is_kept_as_a_user_can_type_it(
    words: list[str], command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from mammo.runs import command_line

    monkeypatch.setattr(sys, "argv", words)
    assert command_line() == command
