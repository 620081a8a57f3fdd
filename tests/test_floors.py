"""Which room imports which: each imports only rooms of lower floors. Read from the code itself."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "__init__": 0, "__main__": 110, "errors": 1, "files": 2, "progress": 3, "tables": 3, "runtime": 3, "settings": 4,
    "cases": 10, "images": 10, "evaluation": 10, "archives": 10, "parallel": 10, "runs": 10,
    "phantom": 20, "deidentify": 20, "model": 20, "plots": 20, "prepare": 30, "data": 40,
    "inference": 50, "judging": 60, "training": 70, "report": 70, "serving": 70, "search": 80,
    "bench": 90, "commands": 100,
}  # fmt: skip
WITHOUT_PADDLE = {"cases", "images", "evaluation", "prepare", "archives", "parallel", "phantom", "deidentify", "plots"}
WITHOUT_MATPLOTLIB = {"cases", "images", "evaluation", "judging"}
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
    assert {other for other in rooms_imported(path) if other != room and FLOORS[other] >= FLOORS[room]} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_data_and_model_do_not_know_each_other(path: Path) -> None:
    if room_of(path) == "data":
        assert "model" not in rooms_imported(path)
    if room_of(path) == "model":
        assert "data" not in rooms_imported(path)
        assert rooms_imported(path) & {"cases", "images", "prepare"} == set()


@pytest.mark.parametrize(
    "path", [*MODULES, *sorted((ROOT / "tools").glob("*.py"))], ids=lambda path: str(path.relative_to(ROOT))
)
def test_paddle_comes_only_through_runtime(path: Path) -> None:
    direct = [module for module, _ in imports_of(path) if module == "paddle" or module.startswith("paddle.")]
    assert direct == []
    if room_of(path) in WITHOUT_PADDLE if path.is_relative_to(ROOT / "mammo") else False:
        assert [names for module, names in imports_of(path) if module == "mammo.runtime" and "paddle" in names] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_tables_and_judgement_draw_nothing(path: Path) -> None:
    if room_of(path) in WITHOUT_MATPLOTLIB:
        assert [module for module, _ in imports_of(path) if module.split(".")[0] in ("matplotlib", "visualdl")] == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_only_its_own_tests_import_the_benchmarks(path: Path) -> None:
    if path.parent != ROOT / "tests" / "bench":
        assert "bench" not in rooms_imported(path)
