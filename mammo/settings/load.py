"""Reads YAML and `-o key.path=value` overrides and returns checked `Settings`; all errors are reported together."""

import difflib
import re
import reprlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from mammo.errors import MOST_FAULTS_SHOWN, SettingsError, in_one_line
from mammo.settings.schema import Settings

Model = TypeVar("Model", bound=BaseModel)
MOST_BYTES = 100_000  # the longest shipped settings have 3,000
MOST_ALIASES = 20  # a few lines of nested aliases can mean billions of values
LONGEST_SHOWN = 100
FEW_KEYS = 8  # so many are listed beside the nearest one
LONGEST_NUMBER = 100  # characters; Python prints no number of more than 4,300 digits, so no message could show it
SURROGATES = re.compile("[\ud800-\udfff]")  # stand for bytes of another encoding (PEP 383)
# What PyYAML raises for values such as 2024-13-45, 0x_, !!bool 3 or a thousand brackets.
NOT_YAML = (yaml.YAMLError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError, RecursionError)


def load_settings(path: Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read a settings file, apply the overrides, and check the result.

    Args:
        path: A YAML file, or None for the defaults.
        overrides: `key.path=value` each; the value is YAML and may contain `=`.

    Raises:
        SettingsError: The file is missing or not a YAML mapping, or keys or values are wrong (all are named).
    """
    values = read_yaml(path) if path else {}
    faults: list[str] = []
    for override in overrides:
        _lay_over(values, override, faults)
    where = str(path) if path else "settings"
    if faults:
        raise SettingsError(in_one_line(where, faults))
    return check_settings(values, where)


def check_settings(values: dict[str, Any], where: str) -> Settings:
    """Return nested plain values as `Settings`; `where` names their source in the error."""
    settings = check_values(Settings, values, where)
    for key, value in _texts(settings):
        if "\0" in value:
            raise SettingsError(f"{where}: {key}: contains a NUL character, which no name or path has")
        if SURROGATES.search(value):
            what = f"{where}: {key}: {_shown(value)} is not text in this system's encoding"
            raise SettingsError(f"{what}; rename it, or run the command in that folder and leave it out of the path")
    return settings


def check_values(model: type[Model], values: dict[str, Any], where: str) -> Model:
    """Return nested plain values as a model, or raise SettingsError, which names all faults and the nearest keys."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        shown = [_explain(fault, model) for fault in faults[:MOST_FAULTS_SHOWN]]
        raise SettingsError(in_one_line(where, shown + [""] * (len(faults) - len(shown)))) from None


def _texts(group: BaseModel, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts and paths of settings with their keys."""
    for name, value in group:
        if isinstance(value, BaseModel):
            yield from _texts(value, f"{prefix}{name}.")
        elif isinstance(value, str | Path):
            yield prefix + name, str(value)


def dump_settings(settings: Settings) -> str:
    """Return settings as YAML text, which `load_settings` reads back to the same settings."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _OneOfEach(yaml.SafeLoader):
    """YAML's safe loader, but a duplicated key is an error: YAML would keep the last one silently."""

    aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Limit the number of aliases."""
        if self.check_event(yaml.AliasEvent):
            self.aliases += 1
            if self.aliases > MOST_ALIASES:
                raise yaml.composer.ComposerError(
                    None, None, f"more than {MOST_ALIASES} aliases", self.peek_event().start_mark
                )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Refuse duplicated keys."""
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        repeated = sorted(key for key, times in keys.items() if times > 1)
        if repeated:
            raise yaml.constructor.ConstructorError(
                None, None, f"key {', '.join(repeated)} is duplicated", node.start_mark
            )
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Refuse numbers that are too long to print."""
        if isinstance(node, yaml.ScalarNode) and len(node.value) > LONGEST_NUMBER:
            what = f"a number of {len(node.value)} characters, {_shown(node.value)}; expected at most {LONGEST_NUMBER}"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return super().construct_yaml_int(node)


_OneOfEach.add_constructor("tag:yaml.org,2002:int", _OneOfEach.construct_yaml_int)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping, at most of the size of a settings file.

    Raises:
        SettingsError: It is missing, or no such file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: there is no such settings file; mammo configs lists those that come with mammo"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as a settings file: {error}; expected YAML in UTF-8") from error
    if len(content) > MOST_BYTES:
        raise SettingsError(f"{path}: is longer than {MOST_BYTES} bytes; expected a settings file")
    try:
        values = yaml.load(text, Loader=_OneOfEach)
    except NOT_YAML as error:
        raise SettingsError(f"{path}: is not YAML: {_words(error)}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: expected a mapping of settings, got {type(values).__name__}")
    return values


def _words(message: Exception | str) -> str:
    return " ".join(str(message).split()) or type(message).__name__


def _lay_over(values: dict[str, Any], override: str, faults: list[str]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        faults.append(f"-o {_shown(override)}: expected key.path=value")
        return
    try:
        value = text if SURROGATES.search(text) else yaml.load(text, Loader=_OneOfEach) if text.strip() else None
    except NOT_YAML as error:
        faults.append(f"-o {_shown(override)}: the value is not YAML: {_words(error)}")
        return
    *parents, last = key.strip().split(".")
    for parent in parents:
        child = values.get(parent)
        if not isinstance(child, dict):
            child = values[parent] = {}
        values = child
    values[last] = value


def _explain(fault: Any, model: type[BaseModel]) -> str:
    location = [part for part in fault["loc"] if not _is_union_branch(part)]
    key = ".".join(map(str, location))
    if fault["type"] == "extra_forbidden":
        nearest, valid = _nearest_key(key[:LONGEST_SHOWN], model), _siblings(key, model)
        listed = f"; valid keys: {', '.join(valid)}" if not nearest or len(valid) <= FEW_KEYS else ""
        return f"unknown key {_shown(key)}" + (f"; did you mean {nearest}?" if nearest else "") + listed
    message = _words(fault["msg"].removeprefix("Value error, "))
    shown = (
        ""
        if isinstance(fault["input"], dict) or fault["type"] == "value_error"
        else f", got {_brief.repr(fault['input'])}"
    )
    return f"{_shown(key)}: {message[:1].lower() + message[1:]}{shown}" if key else message


def _shown(text: str) -> str:
    """Return a user's text, short and on one line."""
    short = text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"
    return short if short.isprintable() else repr(short)


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = LONGEST_SHOWN


def _is_union_branch(part: object) -> bool:
    return isinstance(part, str) and any(sign in part for sign in "[(")


def _nearest_key(key: str, model: type[BaseModel]) -> str | None:
    every = list(_keys(model))
    found = difflib.get_close_matches(key, every, n=1, cutoff=0.75)
    if found:
        return found[0]
    last = {name.rpartition(".")[2]: name for name in reversed(every)}
    close = difflib.get_close_matches(key.rpartition(".")[2], last, n=1, cutoff=0.75)
    return last[close[0]] if close else None


def _siblings(key: str, model: type[BaseModel]) -> list[str]:
    parent = key.rpartition(".")[0]
    return [name for name in _keys(model) if name.rpartition(".")[0] == parent]


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield prefix + name
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _keys(inner, f"{prefix}{name}.")


def differences(was: Mapping[str, Any], now: Mapping[str, Any], *, but: Collection[str] = ()) -> list[str]:
    """Return which settings differ, each as `key.path was 1, is now 2`.

    Args:
        was: Nested plain values.
        now: The same, later.
        but: Full keys that may differ.
    """
    return [
        f"{key} was {before!r}, is now {after!r}"
        for key, (before, after) in changed(was, now).items()
        if key not in but
    ]


def changed(was: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the values, then and now, of the settings that differ, by their full keys; None where there is none."""
    before, after = dict(_flat(was)), dict(_flat(now))
    both = {key: (before.get(key), after.get(key)) for key in after | before}
    return {key: (old, new) for key, (old, new) in both.items() if old != new}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
