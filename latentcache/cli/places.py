"""CORPUS... and STORE: which of the places on a command line is which."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def places_argument(command: CommandT) -> CommandT:
    """Add the arguments CORPUS... STORE, passed on as ``places``; see ``corpus_and_store``."""
    return click.argument("places", nargs=-1, metavar="[CORPUS]... [STORE]")(command)


def corpus_and_store(places: tuple[str, ...]) -> dict[str, Any]:
    """Return what ``recipe_of`` is given: of several places the last one is the store."""
    for place in places:
        if place.endswith(".toml"):
            raise click.UsageError(
                f"CORPUS and STORE must be media and a store, got the recipe {place}; "
                f"write --config {place}"
            )
    store = places[-1] if len(places) > 1 else None
    return {"corpus": _one_or_all(places[:-1] if store else places), "store": store}


def corpora_alone(places: tuple[str, ...]) -> dict[str, Any]:
    """Return as ``corpus_and_store``, where no store is needed: the last place may be a corpus."""
    last = Path(places[-1]) if places else Path()
    if len(places) > 1 and last.exists() and not (last / "latentcache.json").exists():
        return {"corpus": _one_or_all(places)}
    given = corpus_and_store(places)
    return {key: value for key, value in given.items() if key == "corpus" or value}


def _one_or_all(corpora: tuple[str, ...]) -> str | list[str] | None:
    return list(corpora) if len(corpora) > 1 else next(iter(corpora), None)
