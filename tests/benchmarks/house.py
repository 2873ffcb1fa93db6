"""How the package is made, in figures: ``python -m tests.benchmarks.house [TREE ...]``.

Lines and functions come from syntax trees, circles and imports past a face from import
statements (those for type checkers included), the chain from ``next(loader)`` to the gather
from a profile of one batch. Several trees stand side by side, the first being the older.
"""

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

CHAIN = """
import json, sys, tempfile
from pathlib import Path
from latentcache.loader import LatentLoader
from latentcache.testing.synthetic import synthetic_store

with tempfile.TemporaryDirectory() as folder:
    synthetic_store(Path(folder) / "store", num_samples=4096, shape=(4, 8, 8), rows_per_shard=512)
    batches = iter(LatentLoader(Path(folder) / "store", global_batch_size=64, seed=1))
    next(batches)
    depth, deepest, calls, files = 0, 0, 0, set()

    def profile(frame, event, argument):
        global depth, deepest, calls
        name = frame.f_code.co_filename
        if "latentcache" not in name:
            return
        if event == "call":
            depth, calls = depth + 1, calls + 1
            deepest = max(deepest, depth)
            files.add(name)
        elif event == "return":
            depth -= 1

    sys.setprofile(profile)
    next(batches)["latents"]
    sys.setprofile(None)
print(json.dumps([deepest, calls, len(files)]))
"""


def main() -> None:
    """Print a table with a column per tree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trees", nargs="*", type=Path, default=[Path()])
    figures = [measure(tree.resolve()) for tree in parser.parse_args().trees]
    for name in figures[0]:
        print(f"| {name} | " + " | ".join(str(one[name]) for one in figures) + " |")


def measure(tree: Path) -> dict[str, str | int]:
    """Return the figures of the package in ``tree``."""
    files = sorted((tree / "latentcache").rglob("*.py"))
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in files}
    functions = [
        (node.end_lineno or node.lineno) - node.lineno + 1
        for one in trees.values()
        for node in ast.walk(one)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    rooms = [len(list(folder.glob("[a-z]*.py"))) for folder in {path.parent for path in files}]
    deepest, calls, chain_files = _chain(tree)
    imports = {_name(path, tree): set(_imports(one)) for path, one in trees.items()}
    names = {path.stem for path in (tree / "tests").rglob("test_*.py")}
    modules = [path.stem for path in files if path.stem not in {"__init__", "__main__"}]
    return {
        "files": len(files),
        "lines": sum(lines.values()),
        "functions": len(functions),
        "function, median and longest": f"{median(functions):.0f}, {max(functions)}",
        "module, median and longest": f"{median(lines.values()):.0f}, {max(lines.values())}",
        "largest folder, files": max(rooms),
        "module names in several packages": _repeated(files, tree),
        "imports past a face": _past_a_face(imports),
        "packages with a circle among their parts": len(_circular(imports)),
        "next(loader): depth, calls, files": f"{deepest}, {calls}, {chain_files}",
        "modules without a test file of their name": sum(
            f"test_{name}" not in names for name in modules
        ),
    }


def _name(path: Path, tree: Path) -> str:
    parts = path.relative_to(tree).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("latentcache."):
            yield node.module or ""


def _repeated(files: list[Path], tree: Path) -> int:
    packages: dict[str, set[str]] = {}
    for path in files:
        parts = path.relative_to(tree / "latentcache").parts
        if len(parts) > 1 and path.stem != "__init__":
            packages.setdefault(path.stem, set()).add(parts[0])
    return sum(len(found) > 1 for found in packages.values())


def _past_a_face(imports: dict[str, set[str]]) -> int:
    """Count imports of a module, from another package, where the package has a face."""
    count = 0
    for name, imported in imports.items():
        own = name.split(".")[1:2]
        for module in imported:
            parts = module.split(".")
            with_face = {"loader", "store", "encoders", "runner", "report", "train", "evaluate"}
            is_package = any(other.startswith(f"{module}.") for other in imports)
            if parts[1:2] != own and parts[1] in with_face and len(parts) > 2 and not is_package:
                count += 1
    return count


def _circular(imports: dict[str, set[str]]) -> set[str]:
    """Return packages, rooms included, whose direct parts import each other in a circle."""
    found = set()
    for package in {name for name in imports if any(n.startswith(f"{name}.") for n in imports)}:
        inside = f"{package}."
        parts: dict[str, set[str]] = {}
        for name, imported in imports.items():
            if name.startswith(inside):
                part = name.removeprefix(inside).split(".")[0]
                uses = {
                    m.removeprefix(inside).split(".")[0] for m in imported if m.startswith(inside)
                }
                parts.setdefault(part, set()).update(uses - {part})
        while leaves := [part for part, uses in parts.items() if not uses & parts.keys()]:
            for part in leaves:
                del parts[part]
        if parts:
            found.add(package)
    return found


def _chain(tree: Path) -> tuple[int, int, int]:
    command = [sys.executable, "-c", CHAIN]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=tree, env={"PYTHONPATH": str(tree)}
    )
    deepest, calls, files = json.loads(done.stdout)
    return deepest, calls, files


if __name__ == "__main__":
    main()
