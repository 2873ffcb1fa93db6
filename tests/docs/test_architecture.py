"""docs/architecture.md is a true map: its packages, rooms and classes are those of the tree."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "latentcache"
MAP = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
MAX_FILES_PER_ROOM = 20
"""About fifteen is the aim."""
FACE_DEPTH = 2
"""``latentcache.store`` and ``latentcache.store.format`` are faces, what lies deeper is not."""


def _rows() -> dict[str, set[str]]:
    """Return each package of the table with the rooms that the table gives it."""
    table = MAP[MAP.index("## Packages") : MAP.index("## The loader in five steps")]
    rows = re.findall(r"^\| \d+ \|([^|]*)\|([^|]*)\|", table, re.M)
    return {
        name: set(re.findall(r"`(\w+)`", rooms))
        for names, rooms in rows
        for name in re.findall(r"`(\w+)`", names)
    }


def test_the_table_of_packages_is_the_tree() -> None:
    packages = {path.parent.name: path.parent for path in PACKAGE.glob("*/__init__.py")}
    assert set(_rows()) == set(packages)
    for name, folder in packages.items():
        rooms = {path.parent.name for path in folder.glob("*/__init__.py")}
        assert _rows()[name] == rooms, name


def test_every_package_has_a_folder_of_tests_and_no_folder_is_of_anything_else() -> None:
    """docs/style.md, "Tests": a file there holds the promises of its package, and imports it.

    ``failure`` holds what no package can promise alone: a killed run costs nothing.
    """
    folders = {
        path.parent.relative_to(REPOSITORY / "tests").parts[0]
        for path in (REPOSITORY / "tests").rglob("test_*.py")
        if path.parent.name != "tests"
    }
    assert folders == set(_rows()) - {"jobs"} | {"docs", "failure", "infra", "jobs"}


def test_upper_layers_of_the_table_are_those_of_the_linter() -> None:
    config = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.search(r"layers = \[(.*?)\]", config, re.S)
    assert listed is not None
    lines = re.findall(r'"(.*?)"', listed[1])
    order = [re.findall(r"latentcache\.(\w+)", line) for line in lines]
    table = re.findall(r"^\| (\d+) \| `(\w+)`", MAP, re.M)
    layer_of = {name: int(layer) for layer, name in table}
    layers = [{layer_of[name] for name in line} for line in order]
    assert all(len(layer) == 1 for layer in layers)
    numbers = [layer.pop() for layer in layers]
    assert numbers == sorted(numbers, reverse=True)


def test_classes_of_the_loader_s_steps_exist_in_their_rooms() -> None:
    steps = MAP[MAP.index("## The loader in five steps") : MAP.index("## Where to look")]
    for names, rooms in re.findall(r"^\| \d\. \w+ \| ((?:`\w+`(?:, )?)+) \(([^)]*)\)", steps, re.M):
        folders = [PACKAGE / room for room in re.findall(r"`(loader/?\w*)`", rooms)]
        files = [path for folder in [*folders, PACKAGE / "loader"] for path in folder.glob("*.py")]
        text = "\n".join(path.read_text(encoding="utf-8") for path in files)
        for name in re.findall(r"`(\w+)`", names):
            assert f"class {name}" in text, name


@pytest.mark.parametrize("folder", sorted({p.parent for p in PACKAGE.rglob("*.py")}), ids=str)
def test_a_room_holds_few_files(folder: Path) -> None:
    assert len(list(folder.glob("[a-z]*.py"))) <= MAX_FILES_PER_ROOM


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("latentcache."):
            yield node.module or ""


WITHOUT_A_LAZY_FACE = {"core", "storage", "testing", "cli"}
"""Packages whose modules are imported by name: their faces load at once, or there is none."""


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_no_import_goes_past_a_face(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0]
    for module in _imports(path):
        package, *inner = module.split(".")[1:]
        if package == own or package in WITHOUT_A_LAZY_FACE or not inner:
            continue
        assert len(inner) < FACE_DEPTH, module
        is_room = (PACKAGE / package / inner[0]).is_dir()
        assert is_room, f"{module} is not a face: take it from latentcache.{package}"
