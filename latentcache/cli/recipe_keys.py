"""Every key of a recipe: its section, its value, and what the config that owns it says of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from latentcache.core.config import key_of
from latentcache.core.config_docs import field_docs

if TYPE_CHECKING:
    from latentcache.runner import Recipe
    from latentcache.train import TrainRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeKey:
    """One key.

    Attributes:
        section: ``plan``, ``encode``, ``resources``, or empty at the top.
        name: Within its section.
        value: In the recipe at hand.
        says: What it decides, in a line.
    """

    section: str
    name: str
    value: Any
    says: str

    @property
    def key(self) -> str:
        """``section.name``, as ``--set`` takes it."""
        return f"{self.section}.{self.name}" if self.section else self.name


def recipe_keys(recipe: "Recipe | TrainRecipe") -> list[RecipeKey]:
    """Return every key, those at the top first."""
    found = list(keys_of(recipe, ""))
    return sorted(found, key=lambda each: each.section != "")


def keys_of(config: Any, section: str) -> Iterator[RecipeKey]:
    """Yield the keys of a config and of those inside it.

    Args:
        config: A dataclass.
        section: Of its own keys.
    """
    kind: type[Any] = type(config)
    says = field_docs(kind)
    for field in fields(config):
        if not field.init:
            continue
        value = getattr(config, field.name)
        name = key_of(kind, field.name)
        if is_dataclass(value):
            yield from keys_of(value, name)
        else:
            yield RecipeKey(section=section, name=name, value=value, says=says.get(field.name, ""))


def toml_of(value: Any) -> str:
    """Return a plain value as TOML; TOML has no word for one that is not set."""
    if value is None:
        return "..."
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(toml_of(item) for item in value)}]"
    return json.dumps(value, ensure_ascii=False)
