"""``latentcache recipe``: a run written down, with every key and what it decides."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from latentcache.cli.flags import (
    RecipeOption,
    config_flags,
    encode_flags,
    note,
    plan_flags,
    recipe_written,
    resource_flags,
    run_flags,
    seed_flag,
    update_flags,
)
from latentcache.cli.places import corpus_and_store
from latentcache.cli.recipe_keys import RecipeKey, recipe_keys, toml_of
from latentcache.core.errors import ConfigError

if TYPE_CHECKING:
    from latentcache.runner import Recipe

_WIDTH = 98
_BATCH, _FIRST_BATCH = "batches.global_batch_size", 32
"""What a training must be told and has no default for: written, so that the file trains."""

_LEAD = (
    "Everything that a run can be told, as keys of a TOML file for `latentcache build --config`. A "
    "flag, its key and the key in `--json` are one word. `latentcache recipe` writes a file with "
    "comments; any key can be set with `--set SECTION.KEY=VALUE`. An unknown key is refused with "
    "the nearest known one. This page is printed by `latentcache recipe --markdown`."
)

_TRAIN_LEAD = (
    "Everything that a training can be told, as keys of a TOML file for `latentcache train`. "
    "`latentcache recipe --train STORE` writes a file with comments; any key can be set with "
    "`--set SECTION.KEY=VALUE`. An unknown key is refused with the nearest known one. Either "
    "`store` or tables `[[sources]]` are given: a filter, a split (`split = 'train'`), a weight or "
    "a pinned snapshot stand in such a table, beside its own `store`. This page is printed by "
    "`latentcache recipe --train --markdown`."
)


@click.command(short_help="Write a commented recipe: every key, and what it decides.")
@click.argument("places", nargs=-1, metavar="[CORPUS]... [STORE]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    help="Where to write; stdout unless given.",
)
@click.option(
    "--markdown",
    is_flag=True,
    expose_value=False,
    callback=note("markdown"),
    help="Print the keys as the page docs/recipe.md instead.",
)
@click.option(
    "--train",
    is_flag=True,
    expose_value=False,
    callback=note("train"),
    help="Of latentcache train: its keys, for [STORE]; with --markdown docs/train_recipe.md.",
)
@plan_flags
@update_flags
@encode_flags
@seed_flag("plan.seed", "encode.seed")
@run_flags
@resource_flags
@config_flags
@click.pass_context
def recipe(context: click.Context, places: tuple[str, ...], output: Path | None) -> None:
    """Write what the same flags of build mean as a file for build --config.

    What differs from the defaults is set, every other key stands there as a comment.
    """
    from latentcache.runner import Recipe
    from latentcache.storage import refuse_secret_options

    if context.meta["train"]:
        text = _train_text(context, places)
    elif context.meta["markdown"]:
        text = recipe_page(context.command)
    else:
        made = recipe_written(context, **corpus_and_store(places))
        refuse_secret_options(made.storage_options, where="recipe")
        text = recipe_text(made, Recipe())
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        verb = "train" if context.meta["train"] else "build --config"
        click.echo(f"{output}: run it with latentcache {verb} {output}")


def recipe_text(recipe: "Recipe", default: "Recipe") -> str:
    """Return ``recipe`` as commented TOML; keys that have their default are comments."""
    usual = {each.key: each.value for each in recipe_keys(default)}
    lead = "# latentcache build --config THIS_FILE; flags win over it"
    return _commented(lead, recipe_keys(recipe), usual)


def _train_text(context: click.Context, places: tuple[str, ...]) -> str:
    """Return a training recipe, or the page of its keys.

    Raises:
        ConfigError: What was given beside is no part of it.
    """
    from latentcache.cli.train_recipe_keys import train_recipe_keys

    ours = ("train", "markdown", "output", "places")
    others = [
        option.opts[0]
        for option in context.command.params
        if option.name not in ours
        and context.get_parameter_source(str(option.name)) is ParameterSource.COMMANDLINE
    ]
    if others or len(places) > 1:
        raise ConfigError(
            f"recipe --train must be given one STORE and nothing of build, got "
            f"{', '.join([*others, *places[1:]])}; leave it out and change keys in the file"
        )
    keys = train_recipe_keys(*places)
    if context.meta["markdown"]:
        return _page("Training recipe", _TRAIN_LEAD, keys, None)
    usual = {each.key: each.value for each in keys if each.key not in ("store", "out")}
    keys = [replace(each, value=_FIRST_BATCH) if each.key == _BATCH else each for each in keys]
    return _commented("# latentcache train THIS_FILE; --set SECTION.KEY=VALUE wins", keys, usual)


def _commented(lead: str, keys: Sequence[RecipeKey], usual: Mapping[str, Any]) -> str:
    """Return keys as TOML with comments; those that have their usual value are comments too."""
    lines, section = [lead], ""
    for each in keys:
        if each.section != section:
            section = each.section
            # Of tables in a list each is a source: none is begun for a person.
            lines += ["", f"# [{section}]" if section.startswith("[") else f"[{section}]"]
        lines += [
            "",
            *textwrap.wrap(each.says, _WIDTH, initial_indent="# ", subsequent_indent="# "),
        ]
        mark = "# " if each.key in usual and each.value == usual[each.key] else ""
        lines.append(f"{mark}{each.name} = {toml_of(each.value)}")
    return "\n".join(lines) + "\n"


def recipe_page(command: click.Command) -> str:
    """Return the page of all keys; ``command`` has every flag that sets one."""
    from latentcache.runner import Recipe

    flags = {
        key: option.opts[0]
        for option in command.params
        if isinstance(option, RecipeOption)
        for key in option.keys
    }
    return _page("Recipe", _LEAD, recipe_keys(Recipe()), flags)


def _page(title: str, lead: str, keys: Sequence[RecipeKey], flags: Mapping[str, str] | None) -> str:
    """Return a page of keys; the column of flags is left out where there are none."""
    lines = [f"# {title}", "", *textwrap.wrap(lead, _WIDTH, break_long_words=False)]
    names = ["key", "default", *(["flag"] if flags is not None else []), "what it decides"]
    for section in dict.fromkeys(each.section for each in keys):
        lines += ["", f"## `[{section}]`" if section else "## At the top", ""]
        lines += [_row(names), _row(["---"] * len(names))]
        lines += [_page_row(each, flags) for each in keys if each.section == section]
    return "\n".join(lines) + "\n"


def _page_row(each: RecipeKey, flags: Mapping[str, str] | None) -> str:
    cells = [f"`{each.name}`", "" if each.value is None else f"`{toml_of(each.value)}`"]
    if flags is not None:
        cells.append(f"`{flags[each.key]}`" if each.key in flags else "")
    return _row([*cells, each.says.replace("|", "\\|")])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
