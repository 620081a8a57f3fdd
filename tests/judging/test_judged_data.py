"""The folder of a judgement on another data set notes which manifest it is of."""

import json
from pathlib import Path

import pytest

from mammo.errors import DataMissingError, SettingsError
from mammo.judging.run_folder import judge_run_folder


def note(folder: Path, name: str, manifest: Path) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"manifest": str(manifest)}), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["judged_data.json", "manifest.json"])
def test_a_judgement_of_another_manifest_of_that_name_is_kept(tmp_path: Path, name: str) -> None:
    old = note(tmp_path / "run" / "x_t", name, tmp_path / "a" / "x" / "t.csv")
    before = old.read_bytes()
    with pytest.raises(SettingsError, match="x_t: holds the judgement of another manifest of that name; name another"):
        judge_run_folder(tmp_path / "run", output=tmp_path, manifest=tmp_path / "b" / "x" / "t.csv")
    assert [path.name for path in old.parent.glob("*.json")] == [name]
    assert old.read_bytes() == before


def test_a_judgement_of_the_same_manifest_is_made_again_where_the_note_has_its_old_name(tmp_path: Path) -> None:
    manifest = tmp_path / "x" / "t.csv"
    old = note(tmp_path / "run" / "x_t", "manifest.json", manifest)
    (tmp_path / "run" / "config.yaml").write_text("", encoding="utf-8")
    with pytest.raises(DataMissingError, match="holds no network"):
        judge_run_folder(tmp_path / "run", output=tmp_path, manifest=manifest)
    assert (old.parent / "judged_data.json").read_bytes() == old.read_bytes()
