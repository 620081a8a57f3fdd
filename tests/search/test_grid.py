"""Grid files: the variants they make, and how wrong ones are refused, with all errors together and before any work."""

from pathlib import Path

import pytest
import yaml

from mammo.errors import SettingsError
from mammo.search.grid import Search, read_search, refuse_changed
from mammo.settings.load import dump_settings
from mammo.training.folds import of_fold
from tests.tiny import tiny_settings

PLAIN = {"config": "base.yaml", "folds": 3, "baseline": "plain", "variants": {"plain": {}}}


def search_of(folder: Path, **changes: object) -> Search:
    """Read a grid file with changes of `PLAIN`; None removes a key."""
    values = {key: value for key, value in (PLAIN | changes).items() if value is not None}
    (folder / "base.yaml").write_text(dump_settings(tiny_settings(folder)), encoding="utf-8")
    path = folder / "recipes.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return read_search(path, folder.joinpath)


def test_variants_change_what_all_have_in_common(tmp_path: Path) -> None:
    variants = {"plain": {}, "other": {"model.dropout": 0.7, "training.optimizer": {"name": "adam"}}}
    search = search_of(tmp_path, set={"model.dropout": 0.6, "training.epochs": 1}, variants=variants)
    plain, other = search.variants["plain"], search.variants["other"]
    assert (plain.model.dropout, other.model.dropout) == (0.6, 0.7)
    assert plain.training.epochs == other.training.epochs == 1
    assert other.training.optimizer.name == "adam"
    assert search.folder == tmp_path / "output" / "search" / "recipes"
    assert search.parts("other")[2] == search.folder / "other" / "fold_2"


def test_a_variant_is_the_cross_validation_of_its_settings(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    for fold in range(3):
        assert search.settings_of("plain", fold) == of_fold(tiny_settings(tmp_path), 3, fold)


def test_a_grid_is_the_product_of_its_values_with_their_names(tmp_path: Path) -> None:
    grid = {"model.dropout": [0.1, 0.2], "data.image_size": [[32, 32], [48, 40]], "training.loss.name": ["focal"]}
    search = search_of(tmp_path, grid=grid)
    assert list(search.variants) == [
        "plain",
        "dropout=0.1,image_size=32_32,name=focal",
        "dropout=0.1,image_size=48_40,name=focal",
        "dropout=0.2,image_size=32_32,name=focal",
        "dropout=0.2,image_size=48_40,name=focal",
    ]
    last = search.variants["dropout=0.2,image_size=48_40,name=focal"]
    assert (last.model.dropout, last.data.image_size, last.training.loss.name) == (0.2, (48, 40), "focal")


def test_keys_that_end_alike_stay_whole_in_names(tmp_path: Path) -> None:
    grid = {"training.loss.name": ["focal"], "training.optimizer.name": ["adam"]}
    search = search_of(tmp_path, baseline="training.loss.name=focal,training.optimizer.name=adam", grid=grid)
    assert search.baseline in search.variants


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"variant": {}},
            r"unknown key variant; did you mean variants\?; valid keys: config, set, folds, only_folds, ",
        ),
        ({"baseline": None}, "baseline: field required"),
        ({"config": None, "folds": 1}, r"2 errors: \(1\) config: field required; \(2\) folds: input should be greater"),
        ({"baseline": "plian"}, r"baseline: expected one of plain, got 'plian'; did you mean plain\?"),
        ({"variants": None}, "expected at least one recipe under variants or grid"),
        ({"variants": {"a/b": {}, "plain": {}}}, "variant 'a/b': expected at most 100 letters, digits and"),
        ({"grid": {"seed": [1, 1]}}, "variant 'seed=1': is named twice"),
        ({"grid": {"seed": []}}, "grid.seed: list should have at least 1 item"),
        ({"only_folds": [0, 3]}, r"only_folds: expected different folds from 0 to 2, got \[0, 3\]"),
        ({"only_folds": [1, 1]}, r"only_folds: expected different folds from 0 to 2, got \[1, 1\]"),
        ({"set": {"data.folds": 4}}, "data.folds: the grid file's own key folds sets it"),
        ({"set": {"data.kind": "phantoms"}}, r"plain: data.kind: expected one of .*; did you mean phantom\?"),
        ({"set": {"data.split": "manifest"}}, "folds are drawn by data.split=holdout, got manifest"),
        ({"grid": {"output": ["x"]}}, "the variants have different output folders, .*; give output once, under set"),
        ({"config": "gone.yaml"}, "gone.yaml: there is no such settings file"),
    ],
)
def test_a_wrong_grid_is_refused(tmp_path: Path, changes: dict, words: str) -> None:
    with pytest.raises(SettingsError, match=words) as caught:
        search_of(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "recipes.yaml"))


def test_errors_of_all_variants_come_together_those_alike_once(tmp_path: Path) -> None:
    wrong = {"training.epoch": 3}
    variants = {"plain": {}, "a": wrong, "b": {"model.dropout": 2}, "c": wrong}
    with pytest.raises(SettingsError, match="2 errors") as caught:
        search_of(tmp_path, variants=variants)
    assert str(caught.value).count("did you mean training.epochs?") == 1
    assert "(1) a, c: " in str(caught.value)
    assert "(2) b: " in str(caught.value)


def test_a_changed_variant_is_refused_unless_what_is_learnt_stays(tmp_path: Path) -> None:
    search = search_of(tmp_path)
    part = search.parts("plain")[1]
    (part / "checkpoints").mkdir(parents=True)
    (part / "config.yaml").write_text(dump_settings(search.settings_of("plain", 1)), encoding="utf-8")
    refuse_changed(search_of(tmp_path, set={"training.workers": 2, "data.store": "elsewhere"}))
    refuse_changed(search_of(tmp_path, only_folds=[0, 2]))
    changed = search_of(tmp_path, variants={"plain": {"model.dropout": 0.5, "seed": 3}})
    with pytest.raises(SettingsError, match=r"fold_1: was trained with other settings: 2 errors") as caught:
        refuse_changed(changed)
    assert "model.dropout was 0.1, is now 0.5" in str(caught.value)
    assert f"give the variant another name, or remove {part.parent}" in str(caught.value)
    with pytest.raises(SettingsError, match=r"data\.folds was 3, is now 4"):
        refuse_changed(search_of(tmp_path, folds=4))
