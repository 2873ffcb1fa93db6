"""What the source says of each field of a config: text for recipes and pages, written once."""

import ast
import dataclasses
import inspect
import re
from typing import Any

_ATTRIBUTE = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def field_docs(config_type: type[Any]) -> dict[str, str]:
    """Return what is said of each field: below it, or in ``Attributes:`` of the docstring.

    Args:
        config_type: A dataclass whose source is there.

    Returns:
        One line of text by name; fields of which nothing is said are left out.
    """
    (tree,) = ast.parse(inspect.cleandoc(inspect.getsource(config_type))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    section = (ast.get_docstring(tree, clean=True) or "").partition("Attributes:\n")[2]
    for name, text in _ATTRIBUTE.findall(section):
        found[name] = _one_line(text)
    for before, after in zip(tree.body, tree.body[1:], strict=False):
        if not (isinstance(before, ast.AnnAssign) and isinstance(after, ast.Expr)):
            continue
        if isinstance(before.target, ast.Name) and isinstance(after.value, ast.Constant):
            found[before.target.id] = _one_line(str(after.value.value))
    names = {field.name for field in dataclasses.fields(config_type)}
    return {name: text for name, text in found.items() if name in names}


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")
