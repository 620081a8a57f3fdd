"""YAML text and `-o key.path=value` overrides in, checked `Settings` out; all faults of a file in one message."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from mammo.errors import SettingsError, in_one_line
from mammo.settings import Settings


def load_settings(path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read a settings file, lay the overrides over it, and check the whole.

    Args:
        path: A YAML file, or None for the defaults.
        overrides: `key.path=value` each; the value is YAML and may hold `=`.

    Raises:
        SettingsError: The file is not there or no YAML mapping, or any key or value is wrong (all are named).
    """
    values = _read_yaml(path) if path else {}
    faults: list[str] = []
    for override in overrides:
        _lay_over(values, override, faults)
    where = str(path) if path else "settings"
    if faults:
        raise SettingsError(in_one_line(where, faults))
    return check_settings(values, where)


def check_settings(values: dict[str, Any], where: str) -> Settings:
    """Turn nested plain values to `Settings`; `where` names their source in the error."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(in_one_line(where, [_explain(fault) for fault in error.errors()])) from None


def dump_settings(settings: Settings) -> str:
    """Write settings as the YAML text that `load_settings` reads back to the same settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _OneOfEach(yaml.SafeLoader):
    """YAML's safe loader, but a key that stands twice in one mapping is a fault: YAML would keep the last in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping with unique keys."""
        keys = [key.value for key, _ in node.value]
        repeated = sorted({key for key in keys if keys.count(key) > 1})
        if repeated:
            raise yaml.constructor.ConstructorError(None, None, f"key {', '.join(repeated)} stands there twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_OneOfEach)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such settings file; those that come with mammo are in configs/") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as a settings file: {error}") from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return values


def _lay_over(values: dict[str, Any], override: str, faults: list[str]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        faults.append(f"-o {override}: expected key.path=value")
        return
    try:
        value = yaml.safe_load(text) if text.strip() else None
    except yaml.YAMLError:
        faults.append(f"-o {override}: the value is not YAML")
        return
    *parents, last = key.strip().split(".")
    for parent in parents:
        child = values.get(parent)
        if not isinstance(child, dict):
            child = values[parent] = {}
        values = child
    values[last] = value


def _explain(fault: Any) -> str:
    location = [part for part in fault["loc"] if not _is_union_branch(part)]
    key = ".".join(map(str, location))
    if fault["type"] == "extra_forbidden":
        nearest = _nearest_key(key)
        return f"unknown key {key}" + (f"; did you mean {nearest}?" if nearest else f"; valid keys: {', '.join(_siblings(key))}")
    message = fault["msg"].removeprefix("Value error, ")
    shown = "" if isinstance(fault["input"], dict) or fault["type"] == "value_error" else f", got {fault['input']!r}"
    return f"{key}: {message[:1].lower() + message[1:]}{shown}" if key else message


def _is_union_branch(part: object) -> bool:
    return isinstance(part, str) and any(sign in part for sign in "[(")


def _nearest_key(key: str) -> str | None:
    every = list(_keys(Settings))
    found = difflib.get_close_matches(key, every, n=1, cutoff=0.75)
    if found:
        return found[0]
    last = {name.rpartition(".")[2]: name for name in reversed(every)}
    close = difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.75)
    return last[close[0]] if close else None


def _siblings(key: str) -> list[str]:
    parent = key.rpartition(".")[0]
    return [name for name in _keys(Settings) if name.rpartition(".")[0] == parent]


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _keys(inner, f"{prefix}{name}.")
