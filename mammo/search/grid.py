"""Reads a grid file: the recipes that a search compares, each a name and checked settings."""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import Field

from mammo.errors import MammoError, SettingsError, did_you_mean, few_of, in_one_line
from mammo.prepare.readers import reader_of
from mammo.runs import CONFIG_FILE, fold_folder
from mammo.settings.load import check_values, differences, load_settings, read_yaml
from mammo.settings.schema import Settings
from mammo.settings.types import Strict

NAME = re.compile(r"\w[\w.,=+-]{0,99}")
OF_THE_GRID = ("data.folds", "data.fold")
# Neither what is learnt nor what is judged depends on these: finished folds are kept when they change.
MAY_CHANGE = (
    "output",
    "device",
    "data.store",
    "data.prepare_workers",
    "training.workers",
    "training.log_histograms",
    "evaluation.batch_size",
)
Done = TypeVar("Done")
Overrides = list[tuple[str, Any]]


class GridFile(Strict):
    """What a grid file says; keys of settings are full ones, such as `model.dropout`.

    `set` is laid over the settings of `config` for all variants. `variants` names recipes by what they change; `grid`
    adds a recipe for each combination of its values. With `only_folds`, only these of the `folds` are trained.
    """

    config: str
    set: dict[str, Any] = Field({})
    folds: Annotated[int, Field(ge=2)] = 5
    only_folds: tuple[Annotated[int, Field(ge=0)], ...] = ()
    baseline: str
    variants: dict[str, dict[str, Any]] = Field({})
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field({})


@dataclass(frozen=True)
class Search:
    """A checked grid file: `variants` has the settings of each recipe's first fold, in the order of the table."""

    path: Path
    folder: Path
    folds: int
    only: tuple[int, ...]
    baseline: str
    variants: dict[str, Settings]

    @property
    def trained(self) -> tuple[int, ...]:
        """Which folds are trained."""
        return self.only or tuple(range(self.folds))

    def parts(self, name: str) -> dict[int, Path]:
        """The folders of a variant's folds."""
        return {fold: fold_folder(self.folder / name, fold) for fold in self.trained}

    def settings_of(self, name: str, fold: int) -> Settings:
        """The settings of a variant's fold."""
        settings = self.variants[name]
        return settings.model_copy(update={"data": settings.data.model_copy(update={"fold": fold})})

    def for_each(self, do: Callable[[str], Done]) -> dict[str, Done]:
        """Do something with each variant's name; the errors of all are raised together."""
        return _for_each(self.variants, do, str(self.path))


def read_search(path: Path, find_config: Callable[[str], Path]) -> Search:
    """Read a grid file, and build and check the settings of every variant; `find_config` finds `config`.

    Raises:
        SettingsError: The file, or the settings of some variants, are wrong; all errors are named.
    """
    found = check_values(GridFile, read_yaml(path), str(path))
    recipes = list(_recipes(found))
    if faults := _faults(found, [name for name, _ in recipes]):
        raise SettingsError(in_one_line(str(path), faults))
    config, only = find_config(found.config), tuple(sorted(found.only_folds))
    own: Overrides = [("data.folds", found.folds), ("data.fold", only[0] if only else 0)]
    changes = {name: [*found.set.items(), *changed, *own] for name, changed in recipes}
    variants = _for_each(changes, lambda name: _settings(config, changes[name]), str(path))
    outputs = list(dict.fromkeys(settings.output for settings in variants.values()))
    if len(outputs) > 1:
        what = f"the variants have different output folders, {few_of([str(output) for output in outputs])}"
        raise SettingsError(f"{path}: {what}; give output once, under set")
    return Search(path, outputs[0] / "search" / path.stem, found.folds, only, found.baseline, variants)


def _recipes(found: GridFile) -> Iterator[tuple[str, Overrides]]:
    """Yield the name and the changed settings of each variant, and of each combination of the grid's values."""
    for name, changed in found.variants.items():
        yield name, list(changed.items())
    short = {key: key.rpartition(".")[2] for key in found.grid}
    if len(set(short.values())) < len(short):
        short = {key: key for key in short}
    for values in itertools.product(*found.grid.values()) if found.grid else ():
        combined = list(zip(found.grid, values, strict=True))
        yield ",".join(f"{short[key]}={_in_a_name(value)}" for key, value in combined), combined


def _in_a_name(value: object) -> str:
    return re.sub(r"[^\w.+-]+", "_", json.dumps(value, default=str, ensure_ascii=False)).strip("_")


def _faults(found: GridFile, names: list[str]) -> list[str]:
    faults = []
    if not names:
        faults.append("expected at least one recipe under variants or grid")
    elif found.baseline not in names:
        hint = did_you_mean(found.baseline, names)
        faults.append(f"baseline: expected one of {few_of(names, 12)}, got {found.baseline!r}{hint}")
    for name in dict.fromkeys(names):
        if not NAME.fullmatch(name):
            rule = "expected at most 100 letters, digits and .,=+-_, as the name of a folder"
            faults.append(f"variant {name[:100]!r}: {rule}; name it under variants")
        if names.count(name) > 1:
            faults.append(f"variant {name[:100]!r}: is named twice; name one of them under variants")
    if len(set(found.only_folds)) < len(found.only_folds) or any(fold >= found.folds for fold in found.only_folds):
        what = f"expected different folds from 0 to {found.folds - 1}, got {list(found.only_folds)}"
        faults.append(f"only_folds: {what}")
    for key in dict.fromkeys([*found.set, *found.grid, *(key for one in found.variants.values() for key in one)]):
        if key in OF_THE_GRID:
            faults.append(f"{key}: the grid file's own key folds sets it; remove it")
    return faults


def _settings(config: Path, changes: Overrides) -> Settings:
    as_text = [f"{key}={yaml.safe_dump(value, default_flow_style=True, allow_unicode=True)}" for key, value in changes]
    settings = load_settings(config, as_text)
    reader_of(settings.data)
    return settings


def _for_each(names: Iterable[str], do: Callable[[str], Done], where: str) -> dict[str, Done]:
    done: dict[str, Done] = {}
    faults: dict[str, list[str]] = {}
    for name in names:
        try:
            done[name] = do(name)
        except MammoError as error:
            faults.setdefault(str(error), []).append(name)
    if faults:
        raise SettingsError(in_one_line(where, [f"{few_of(named)}: {message}" for message, named in faults.items()]))
    return done


def refuse_changed(search: Search) -> None:
    """Check that what the search's folder has of each variant was trained with the settings of now.

    Raises:
        SettingsError: Naming all differences.
    """
    search.for_each(lambda name: _refuse_changed(search, name))


def _refuse_changed(search: Search, name: str) -> None:
    for fold, part in search.parts(name).items():
        if not has_saved(part):
            continue
        before = load_settings(part / CONFIG_FILE).model_dump(mode="json")
        now = search.settings_of(name, fold).model_dump(mode="json")
        if changes := differences(before, now, but=MAY_CHANGE):
            advice = f"set them back, give the variant another name, or remove {part.parent}"
            raise SettingsError(in_one_line(f"{part}: was trained with other settings", changes) + f"; {advice}")


def has_saved(part: Path) -> bool:
    """Whether a fold's run has saved anything."""
    return (part / "log.jsonl").exists() or (part / "checkpoints").exists()
