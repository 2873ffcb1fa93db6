"""``latentcache recipe``: a run written down, with every key and what it decides."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentcache.cli.flags import (
    RecipeOption,
    config_flags,
    corpus_and_store,
    encode_flags,
    note,
    plan_flags,
    recipe_written,
    resource_flags,
    run_flags,
    seed_flag,
    update_flags,
)
from latentcache.cli.recipe_keys import RecipeKey, recipe_keys, toml_of

if TYPE_CHECKING:
    from latentcache.runner import Recipe

_WIDTH = 98
_LEAD = (
    "Everything that a run can be told, as keys of a TOML file for `latentcache build --config`. A "
    "flag, its key and the key in `--json` are one word. `latentcache recipe` writes a file with "
    "comments; any key can be set with `--set SECTION.KEY=VALUE`. An unknown key is refused with "
    "the nearest known one. This page is printed by `latentcache recipe --markdown`."
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

    if context.meta["markdown"]:
        text = recipe_page(context.command)
    else:
        made = recipe_written(context, **corpus_and_store(places))
        text = recipe_text(made, Recipe())
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        click.echo(f"{output}: run it with latentcache build --config {output}")


def recipe_text(recipe: "Recipe", default: "Recipe") -> str:
    """Return ``recipe`` as commented TOML; keys that have their default are comments."""
    lines = ["# latentcache build --config THIS_FILE; flags win over it"]
    section = ""
    usual = {each.key: each.value for each in recipe_keys(default)}
    for each in recipe_keys(recipe):
        if each.section != section:
            section = each.section
            lines += ["", f"[{section}]"]
        lines += [
            "",
            *textwrap.wrap(each.says, _WIDTH, initial_indent="# ", subsequent_indent="# "),
        ]
        mark = "" if each.value != usual[each.key] else "# "
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
    keys = recipe_keys(Recipe())
    lines = ["# Recipe", "", *textwrap.wrap(_LEAD, _WIDTH, break_long_words=False)]
    for section in dict.fromkeys(each.section for each in keys):
        lines += ["", f"## `[{section}]`" if section else "## At the top", ""]
        lines += ["| key | default | flag | what it decides |", "| --- | --- | --- | --- |"]
        lines += [_page_row(each, flags) for each in keys if each.section == section]
    return "\n".join(lines) + "\n"


def _page_row(each: RecipeKey, flags: dict[str, str]) -> str:
    flag = f"`{flags[each.key]}`" if each.key in flags else ""
    says = each.says.replace("|", "\\|")
    return f"| `{each.name}` | `{toml_of(each.value)}` | {flag} | {says} |"
