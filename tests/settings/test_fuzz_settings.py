"""Any settings end as checked settings that survive printing, or as one error line, within seconds."""

import math
import os
import time
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from mammo.errors import SettingsError
from mammo.settings.load import check_settings, dump_settings, load_settings
from mammo.settings.schema import Settings

BOUNDED = settings(derandomize=True, max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
FEWER = settings(BOUNDED, max_examples=150)


def groups(model: type[BaseModel], prefix: str = "") -> dict[str, type[BaseModel]]:
    """Every group of settings by its path, the whole under an empty one."""
    found = {prefix: model}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= groups(field.annotation, f"{prefix}.{name}".strip("."))
    return found


GROUPS = groups(Settings)
KEYS = sorted(f"{path}.{name}".strip(".") for path, model in GROUPS.items() for name in model.model_fields)
WORDS = sorted(
    {
        str(word)
        for model in GROUPS.values()
        for field in model.model_fields.values()
        for word in get_args(field.annotation)
        if isinstance(word, str)
    }
)
# Careless and hostile values: other types, ranges, digits and characters.
ODD = [
    None, True, False, 0, 1, -1, 2**31, 2**64, 10**30, 0.0, -0.0, 0.5, 1e-320, 1e308, math.nan, math.inf, -math.inf, "",
    " ", "nan", "inf", "1e999", "1_000", "0x1f", "١٢", "½", "三", "recall>=0.9", "recall>=nan", "youden>=1", ">=",
    "validation/auc", "a\nb", "a\0b", "\ud800", "乳腺/X 光", "~", "../../etc", "C:\\films", [], {}, [1], [1, 2],
    [[1, 2], [3, 4]], {"name": "gamma"}, [{"name": "affine"}], b"\xff",
]  # fmt: skip
values_of_any_kind = st.sampled_from(ODD) | st.sampled_from(WORDS) | st.integers() | st.floats() | st.text(max_size=12)
nested = st.recursive(
    values_of_any_kind,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6) | st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)
changes = st.dictionaries(st.sampled_from(KEYS), nested, min_size=1, max_size=4)


def assert_ends_well(load: Any, folder: Path) -> bool:
    """True for settings, which survive printing; False for one line."""
    begin = time.monotonic()
    try:
        loaded = load()
    except SettingsError as error:
        assert str(error).isprintable() or "\n" not in str(error)
        assert len(str(error)) < 20_000
        assert time.monotonic() - begin < 5
        return False
    printed = folder / "printed.yaml"
    printed.write_text(dump_settings(loaded), encoding="utf-8")
    again = load_settings(printed)
    assert dump_settings(again) == dump_settings(loaded)
    assert again == loaded
    return True


def laid(tree: dict[str, Any]) -> dict[str, Any]:
    """Nest dotted keys."""
    whole: dict[str, Any] = {}
    for key, value in sorted(tree.items(), key=lambda item: item[0].count(".")):
        place = whole
        *parents, last = key.split(".")
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        place[last] = value
    return whole


@BOUNDED
@given(tree=changes)
def test_any_values_under_real_keys_end_well(tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]) -> None:
    assert_ends_well(lambda: check_settings(laid(tree), "here"), tmp_path_factory.getbasetemp())


@BOUNDED
@given(key=st.sampled_from(KEYS), value=nested)
def test_any_override_of_a_real_key_ends_well(tmp_path_factory: pytest.TempPathFactory, key: str, value: Any) -> None:
    text = yaml.dump(value, allow_unicode=True, default_flow_style=True)
    assert_ends_well(lambda: load_settings(None, [f"{key}={text}"]), tmp_path_factory.getbasetemp())


@BOUNDED
@given(
    override=st.text(max_size=40)
    | st.builds(lambda key, text: f"{key}={text}", st.sampled_from(KEYS), st.text(max_size=30))
)
def test_any_text_as_an_override_ends_well(tmp_path_factory: pytest.TempPathFactory, override: str) -> None:
    assert_ends_well(lambda: load_settings(None, [override]), tmp_path_factory.getbasetemp())


def test_good_overrides_are_among_those_tried(tmp_path: Path) -> None:
    tried = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True)}"
        for key in KEYS
        for value in ODD
        if not isinstance(value, bytes)
    ]
    tried = [override for override in tried if "\\uD800" not in override]
    outcomes = [
        assert_ends_well(lambda override=override: load_settings(None, [override]), tmp_path) for override in tried
    ]
    assert outcomes.count(True) > 100
    assert outcomes.count(False) > 1000


# Pieces of YAML, put together at random: indicators, anchors, tags, quotes, line ends.
PIECES = [
    "training", "epochs", "data", "seed", "output", ": ", ":", "\n", "\n  ", "\n    ", "\r\n", "- ", "[", "]", "{", "}",
    ",", "&a ", "*a", "<<: *a", "!!int ", "!!float ", "!!binary ", "!!timestamp ", "!!set ", "!!omap ", "!!pairs ",
    "!!python/name:os.system ", "!x ", "? ", "|", ">", "'", '"', "#", "%YAML 1.1\n", "---\n", "...\n", "\t", "0x", "0b",
    "1:99", "2024-13-45", "2024-01-01", ".inf", ".nan", "~", "=", "\\x00", "\ufeff", "乳", "\u2028", "\x85", "1e9",
    "9" * 5000, "null", "yes",
]  # fmt: skip


@settings(BOUNDED, max_examples=3000)
@given(pieces=st.lists(st.sampled_from(PIECES), max_size=25))
def test_any_pieces_of_yaml_end_well(tmp_path_factory: pytest.TempPathFactory, pieces: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "pieces.yaml"
    path.write_text("".join(pieces), encoding="utf-8", newline="")
    assert_ends_well(lambda: load_settings(path), tmp_path_factory.getbasetemp())


@FEWER
@given(content=st.binary(max_size=60))
def test_any_bytes_end_well(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "bytes.yaml"
    path.write_bytes(content)
    assert_ends_well(lambda: load_settings(path), tmp_path_factory.getbasetemp())


def alias_bomb(key: str, levels: int = 12) -> str:
    """Lists of nine aliases of the list before."""
    inner = "&a0 [x]"
    for level in range(1, levels):
        inner = f"&a{level} [{inner}{f', *a{level - 1}' * 8}]"
    return f"{key}: {inner}\n"


BOMBS = {
    "aliases": (alias_bomb("augmentation"), "more than 20 aliases"),
    "aliases under a rule": ("evaluation:\n  " + alias_bomb("operating_point"), "more than 20 aliases"),
    "merges": (
        "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12)),
        "20 aliases",
    ),
    "brackets": ("seed: " + "[" * 20_000 + "]" * 20_000, "is not YAML"),
    "braces": ("seed: " + "{a: " * 15_000 + "}" * 15_000, "is not YAML"),
    "a merge of itself": ("data: &a\n  <<: *a\n  x: 1\n", "unknown key data.x"),
    "a list in itself": ("augmentation: &a [*a]\n", "augmentation"),
    "a table in itself": ("training: &a {epochs: *a}\n", "training.epochs"),
    "ten thousand keys": ("".join(f"k{n}: 1\n" for n in range(10_000)), "10000 errors: .* and 9988 more"),
    "one long line": ("output: " + "x" * 200_000, "is longer than 100000 bytes"),
    "a number of 9,000 digits": (
        "seed: " + "9" * 9000,
        "is not YAML: a number of 9000 characters, 9{100}…; expected at most 100",
    ),
    "a date that is none": ("output: 2024-13-45", "is not YAML: month must be in 1"),
    "a tag of Python's": (
        "output: !!python/object/apply:os.system ['touch ran']",
        "is not YAML: could not determine a constructor",
    ),
    "utf-16": ("seed: 1\n".encode("utf-16"), "cannot be read as a settings file: .*expected YAML in UTF-8"),
    "nothing but zeros": (bytes(1000), "is not YAML: unacceptable character"),
    "a key over two lines": ('"a\\nb": 1\n', r"unknown key 'a\\nb'"),
    "a path with a NUL": ('output: "a\\0b"\n', "output: contains a NUL character"),
    "half a character": ('output: "\\ud800"\n', r"output: '\\ud800' is not text in this system's encoding"),
    "two keys alike in a list": ("augmentation: [{name: gamma, p: 1, p: 0}]", "key p is duplicated"),
}


@pytest.mark.parametrize("bomb", list(BOMBS))
def test_a_file_that_would_not_end_is_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bomb: str) -> None:
    monkeypatch.chdir(tmp_path)
    content, words = BOMBS[bomb]
    (tmp_path / "s.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    begin = time.monotonic()
    with pytest.raises(SettingsError, match=words) as caught:
        load_settings(tmp_path / "s.yaml")
    assert time.monotonic() - begin < 5
    assert str(caught.value).startswith(f"{tmp_path}/s.yaml: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 3000
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]


@pytest.mark.parametrize(
    "text", [alias_bomb("x")[3:], "{p: 1, p: 2}", "[" * 9000, "!!int x", "0x_", "!!bool 3", "{p: 0x" + "f" * 6000 + "}"]
)
def test_the_same_is_refused_as_an_override(text: str) -> None:
    with pytest.raises(SettingsError, match=r"settings: -o augmentation=.*: the value is not YAML: "):
        load_settings(None, [f"augmentation={text}"])


def test_an_endless_file_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="/dev/zero: is longer than 100000 bytes"):
        load_settings(Path("/dev/zero"))


def test_anchors_merges_and_windows_lines_work(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    text = "augmentation:\n- &a {name: gamma, p: 0.25}\n- {<<: *a, name: noise}\nmodel: {backbone: ResNet18_vd}\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    loaded = load_settings(path)
    assert [(step.name, step.p) for step in loaded.augmentation] == [("gamma", 0.25), ("noise", 0.25)]
    assert loaded.model.backbone == "ResNet18_vd"


def test_a_folder_named_in_another_encoding_is_told_how_to_be_used(tmp_path: Path) -> None:
    named = "data.root=" + os.fsdecode("片/乳腺".encode("gbk"))
    with pytest.raises(
        SettingsError,
        match=r"data\.root: '.*\\udc\w\w.*' is not text in this system's encoding; rename it, or run the command in",
    ):
        load_settings(None, [named])


HUGE = {
    "hexadecimal": "0x" + "f" * 6000,
    "below zero": "-0b" + "1" * 20_000,
    "octal": "0" + "7" * 6000,
    "in sixties": "1:" * 3000 + "1",
    "decimal": "9" * 5000,
    "with lines below": "1_" * 5000 + "1",
    "tagged": "!!int '" + "7" * 5000 + "'",
}


@pytest.mark.parametrize("form", list(HUGE))
@pytest.mark.parametrize(
    "key", ["seed", "training.epochs", "training.optimizer.learning_rate", "data.kind", "data.manifest", "data"]
)
def test_a_number_too_long_to_be_told_is_one_line(form: str, key: str) -> None:
    with pytest.raises(
        SettingsError, match=rf"settings: -o {key}=.*: the value is not YAML: a number of \d+ characters"
    ) as caught:
        load_settings(None, [f"{key}={HUGE[form]}"])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("text", "number"), [("1180591620717411303424", 2**70), ("0x" + "f" * 98, 16**98 - 1), ("1:30:00", 5400)]
)
def test_numbers_up_to_a_hundred_characters_are_read(text: str, number: int) -> None:
    assert load_settings(None, [f"data.split_seed={text}"]).data.split_seed == number
