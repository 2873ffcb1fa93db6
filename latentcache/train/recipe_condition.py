"""What a recipe's condition is, found out before step 1: classes, or embeddings of text."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader

_LABEL, _LABEL_NAME = "label", "label_name"


def told_by(condition: str, loader: LatentLoader, dit: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model must be built for to be told a column.

    Args:
        condition: The column; "" is none.
        loader: That reads it.
        dit: The recipe's table ``dit``; what is given there stays.

    Raises:
        ConfigError: The column cannot be told as it is; says what is needed.
    """
    if not condition:
        return {}
    kind = loader.kind_of(condition)
    empty = loader.empty_text(condition)
    if empty is not None:
        return {"text_dim": empty.states.shape[-1]}
    if kind == "encoded":
        width = next(iter(loader.shapes().values())).get(condition, (0,))[-1]
        return {"text_dim": width} if width else {}
    if kind != "number":
        found = "text" if kind == "text" else "neither"
        raise ConfigError(
            f"condition must be a column of whole numbers or of text embeddings, got "
            f"{condition!r}, which is {found}; {_way_out(condition, loader)}"
        )
    if "num_classes" in dit:
        return {}
    classes = loader.classes if condition == _LABEL else None
    if classes is None:
        raise ConfigError(
            f"dit.num_classes must be given with labels that are numbers, got none for {condition} "
            f"(recipe); add how many there are"
        )
    return {"num_classes": len(classes)}


def _way_out(condition: str, loader: LatentLoader) -> str:
    if condition == _LABEL_NAME and loader.classes is not None:
        return f'write condition = "{_LABEL}", which numbers the {len(loader.classes):,} names'
    if condition in (_LABEL, _LABEL_NAME):
        return "give the corpus labels of fewer names, which are then numbered, or whole numbers"
    return (
        f"encode it into a column (latentcache encode STORE --column text --input text:{condition} "
        f'--encoder ...) and write condition = "text"'
    )


_PYTHON = (
    (re.compile(r"(?:options=)?LoaderOptions\((\w+)=([^)]*)\)"), r"loader.\1 = \2 in the recipe"),
    (re.compile(r"Source\(store=\.\.\., (\w+)=([^)]*)\)"), r"\1 = \2 in a table [[sources]]"),
    (re.compile(r", or pass newest=True to move on"), ""),
    (re.compile(r"pass newest=True to go on with what the store has now"), "start a new run"),
    (re.compile(r"pass batch\.state or loader\.state_dict\(\)"), "use an earlier checkpoint"),
)
"""What is written in Python, and how a recipe says it."""


@contextmanager
def in_recipe_words() -> Iterator[None]:
    """Have what is refused inside name keys of the recipe, and not Python.

    Raises:
        ConfigError: As it was, in other words.
    """
    try:
        yield
    except ConfigError as error:
        text = str(error)
        for pattern, words in _PYTHON:
            text = pattern.sub(words, text)
        if text == str(error):
            raise
        raise type(error)(text) from None
