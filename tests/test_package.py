"""The package as a whole: light to import, no module or function beyond the house's limits."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import latentcache
from latentcache import loader, store

PACKAGE = Path(__file__).resolve().parent.parent / "latentcache"
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
HEAVY = ("torch", "ray", "av", "diffusers", "pyarrow", "numpy", "PIL", "fsspec", "click")
HOMES = {
    "ray": {"runner"},
    "av": {"decode", "evaluate", "testing"},
    "PIL": {"decode", "testing", "report", "evaluate", "demo"},
    "fsspec": {"storage"},
    "diffusers": {"encoders", "train", "demo"},
    "click": {"cli", "demo", "terminal"},
}


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = f"import sys, latentcache; print([n for n in {HEAVY!r} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout.decode().strip() == "[]"


def test_the_wheel_has_every_file_of_the_package() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["latentcache"]
    packed = {path for pattern in patterns for path in PACKAGE.glob(pattern) if path.is_file()}
    files = {path for path in PACKAGE.rglob("*") if path.is_file()}
    assert {path for path in files - packed if path.suffix not in (".py", ".pyc")} == set()


def test_the_front_door_opens_both_halves() -> None:
    assert latentcache.open_store is store.open_store
    names = ("LatentLoader", "LoaderOptions", "Source")
    assert all(getattr(latentcache, name) is getattr(loader, name) for name in names)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_modules_and_functions_stay_small_and_heavy_imports_stay_at_home(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MAX_MODULE_LINES
    home = path.relative_to(PACKAGE).parts[0]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert _num_lines(node) <= MAX_FUNCTION_LINES, node.name
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            allowed = HOMES.get(name.split(".")[0])
            assert allowed is None or home in allowed, f"{name} is imported in {home}"


def _num_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function, its docstring left out."""
    first = function.body[0]
    assert function.end_lineno is not None
    assert first.end_lineno is not None
    num_lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        num_lines -= first.end_lineno - first.lineno + 1
    return num_lines
