"""Every key of a training recipe: those of its tables, of the DiT and of a source."""

from typing import TYPE_CHECKING

from latentcache.cli.recipe_keys import RecipeKey, keys_of, recipe_keys

if TYPE_CHECKING:
    from latentcache.train import TrainRecipe

SOURCES = "[sources]"
"""The section of a list of tables: in brackets it reads ``[[sources]]``."""

_IN_TABLES = ("sources", "dit")
_OF_THE_STORE = "dit.channels"


def example_recipe(store: str) -> "TrainRecipe":
    """Return a recipe with what must be given."""
    from latentcache.train import TrainRecipe

    return TrainRecipe(store=store or "build/store", out="build/run")


def train_recipe_keys(store: str = "") -> list[RecipeKey]:
    """Return every key, those at the top first, the tables ``[[sources]]`` last.

    Args:
        store: Folder or URL of the store; empty takes an example.
    """
    from latentcache.loader import Source
    from latentcache.train import DiTConfig

    recipe = example_recipe(store)
    found = [each for each in recipe_keys(recipe) if each.key not in _IN_TABLES]
    found += keys_of(DiTConfig(channels=1), "dit")
    found += keys_of(Source(store=recipe.store), SOURCES)
    return [each for each in found if each.key != _OF_THE_STORE]
