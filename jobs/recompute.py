r"""Move a column to another encoder, by a recipe: what ``ray job submit`` runs on a cluster.

    ray job submit --working-dir . -- python jobs/recompute.py jobs/configs/sdxl_512.toml \
        --set encode.encoder=flux:/weights/flux

Says what it takes, encodes, verifies, and only then serves the new encoding; the result as JSON on
stdout, progress on stderr. Submitted again after anything it goes on. The old encoding stays until
``latentcache gc STORE --free ENCODING --delete``. Exit codes are those of ``jobs/build.py``.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from latentcache import runner
from latentcache.cli.entry import exit_code_of, sentence_of
from latentcache.cli.run_reporting import run_reporting
from latentcache.core.errors import ConfigError, LatentCacheError
from latentcache.core.log_lines import say, say_error
from latentcache.runner import parse_setting, read_recipe

sys.path.insert(0, str(Path(__file__).resolve().parent))

from build import INCOMPLETE, on_cluster


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override.")
@click.option("--estimate", is_flag=True, help="Only say what it takes.")
def main(recipe: Path, settings: tuple[str, ...], estimate: bool) -> None:
    """Swap the encoder of the column that RECIPE describes."""
    try:
        code = run(recipe, settings, only_estimate=estimate)
    except (LatentCacheError, OSError) as error:
        say_error(sentence_of(error))
        code = exit_code_of(error)
    sys.exit(code)


def run(recipe_path: Path, settings: tuple[str, ...], *, only_estimate: bool) -> int:
    """Return the exit code of one swap."""
    recipe = read_recipe(recipe_path, dict(parse_setting(text) for text in settings))
    if not recipe.store:
        raise ConfigError(f"key 'store' must be given ({recipe_path}); add `store = ...`")
    if "RAY_ADDRESS" in os.environ:
        recipe = on_cluster(recipe)
    request = recipe.encode_request()
    with run_reporting(recipe.store, recipe.resources) as reporter:
        if only_estimate:
            found = runner.estimate_swap(recipe.store, request, reporter=reporter)
            print(json.dumps(asdict(found), indent=2, default=str))
            return 0
        result = runner.swap_column(recipe.store, request, reporter=reporter)
    print(json.dumps(asdict(result), indent=2))
    if result.old_encoding:
        say(
            f"the old encoding stays until: latentcache gc {recipe.store} --free "
            f"{result.old_encoding[:12]} --delete"
        )
    return INCOMPLETE if result.encoded.limit_sentence else 0


if __name__ == "__main__":
    main()
