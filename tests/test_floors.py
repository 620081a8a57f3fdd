"""The house keeps its floors: who imports whom, read from the code itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "errors": 0, "settings": 0, "config": 0, "runtime": 0, "progress": 0, "runs": 0, "tables": 0, "files": 0, "command": 0, "__init__": 0,
    "setting_types": 0, "distributed": 0, "archives": 0, "archive_members": 0,
    "cases": 1, "images": 1, "evaluation": 1, "prepare": 2, "model": 2, "data": 3, "explain": 3, "inference": 4,
    "training": 5, "report": 5, "serving": 5, "bench": 6,
}  # fmt: skip
WITHOUT_PADDLE = {"cases", "images", "evaluation", "prepare"}
MODULES = sorted((ROOT / "mammo").rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "mammo").parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    found: list[tuple[str, tuple[str, ...]]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append((node.module or "", tuple(alias.name for alias in node.names)))
        elif isinstance(node, ast.Import):
            found += [(alias.name, ()) for alias in node.names]
    return found


def rooms_imported(path: Path) -> set[str]:
    return {module.split(".")[1] for module, _ in imports_of(path) if module.startswith("mammo.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_room_imports_only_lower_floors(path: Path) -> None:
    room = room_of(path)
    wrong = {other for other in rooms_imported(path) if other != room and FLOORS[room] > 0 and FLOORS[other] >= FLOORS[room]}
    above = {other for other in rooms_imported(path) if FLOORS[other] > FLOORS[room]}
    assert wrong | above == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_data_and_model_do_not_know_each_other(path: Path) -> None:
    if room_of(path) == "data":
        assert "model" not in rooms_imported(path)
    if room_of(path) == "model":
        assert "data" not in rooms_imported(path)
        assert rooms_imported(path) & {"cases", "images", "prepare"} == set()


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tools").glob("*.py"))], ids=lambda path: str(path.relative_to(ROOT)))
def test_paddle_comes_only_through_runtime(path: Path) -> None:
    direct = [module for module, _ in imports_of(path) if module == "paddle" or module.startswith("paddle.")]
    assert direct == []
    if room_of(path) in WITHOUT_PADDLE if path.is_relative_to(ROOT / "mammo") else False:
        assert [names for module, names in imports_of(path) if module == "mammo.runtime" and "paddle" in names] == []


@pytest.mark.parametrize("path", sorted((ROOT / "tools").glob("*.py")), ids=lambda path: path.name)
def test_tools_are_thin(path: Path) -> None:
    body = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(body) <= 45


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tools").glob("*.py"))], ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_files_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            first = node.body[1] if ast.get_docstring(node) and len(node.body) > 1 else node.body[0]
            assert (node.end_lineno or 0) - first.lineno + 1 <= 60, f"{path}: {node.name}"
        assert not isinstance(node, ast.Assert), f"{path}: assert outside tests"
