"""Build a store from a recipe: what ``ray job submit`` runs on a cluster.

    ray job submit --working-dir . -- python jobs/build.py jobs/configs/photos_dct.toml

Progress goes to stderr, the result as JSON to stdout; both end up in the job's log. Exit
codes are those of the command line: 0 done, 1 failed, 2 wrong recipe, 3 quarantine limit
passed or part of the corpus lost, 130 stopped.
"""

import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

import click

from latentcache import runner
from latentcache.cli.entry import exit_code_of, sentence_of
from latentcache.cli.results import plan_sentences
from latentcache.cli.run_reporting import run_reporting
from latentcache.core.errors import ConfigError, LatentCacheError
from latentcache.core.log_lines import say_error
from latentcache.runner import Recipe, parse_setting, read_recipe
from latentcache.storage import (
    parse_storage_options,
    refuse_secret_options,
    use_storage_options,
)

INCOMPLETE = 3


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override.")
def main(recipe: Path, settings: tuple[str, ...]) -> None:
    """Build the store that RECIPE describes on the cluster that this runs on."""
    try:
        code = run(recipe, settings)
    except (LatentCacheError, OSError) as error:
        say_error(sentence_of(error))
        code = exit_code_of(error)
    sys.exit(code)


def run(recipe_path: Path, settings: tuple[str, ...]) -> int:
    """Return the exit code of one build."""
    recipe = read_recipe(recipe_path, dict(parse_setting(text) for text in settings))
    # Ray keeps the command line of a job.
    refuse_secret_options(recipe.storage_options, where="--set of a job")
    for name in ("corpus", "store"):
        if not getattr(recipe, name):
            raise ConfigError(f"key {name!r} must be given ({recipe_path}); add `{name} = ...`")
    if "RAY_ADDRESS" in os.environ:
        recipe = on_cluster(recipe)
    with (
        use_storage_options(parse_storage_options(recipe.storage_options)),
        run_reporting(recipe.store, recipe.resources) as reporter,
    ):
        planned, encoded = runner.build_columns(
            recipe.store, recipe.plan_request(), recipe.encode_requests(), reporter=reporter
        )
    columns = [asdict(each) for each in encoded]
    print(json.dumps({"columns": columns} if len(columns) > 1 else columns[0], indent=2))
    told = [*plan_sentences(planned), *(each.limit_sentence for each in encoded)]
    for sentence in filter(None, told):
        say_error(sentence)
    return INCOMPLETE if any(told) else 0


def on_cluster(recipe: Recipe) -> Recipe:
    """Return the recipe as a submitted job runs it: on the cluster it was submitted to.

    Raises:
        ConfigError: A path is relative; a job's working folder is a copy that goes away.
    """
    corpora = (recipe.corpus,) if isinstance(recipe.corpus, str) else recipe.corpus
    for name, url in (*(("corpus", each) for each in corpora), ("store", recipe.store)):
        if url and "://" not in url and not Path(url).is_absolute():
            raise ConfigError(
                f"{name} must be a URL or an absolute path in a submitted job, got {url!r} "
                "(recipe); name a folder that every node sees"
            )
    if recipe.resources.address != "local":
        return recipe
    return recipe.with_resources(replace(recipe.resources, address="auto"))


if __name__ == "__main__":
    main()
