"""``latentcache train``: a model trained from a store, here, under torchrun or on a cluster."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentcache.core.config import config_from_mapping, read_toml
from latentcache.core.errors import ConfigError
from latentcache.core.extras import missing_package
from latentcache.core.log_lines import say
from latentcache.terminal import print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from latentcache.train import SessionResult, Trainer, TrainRecipe

_STOPPED = 130
_CLUSTER = "RAY_ADDRESS"
"""Set where ``ray job submit`` runs a command."""


@click.command(short_help="Train a DiT, or Wan's transformer, from a store.")
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override.")
@click.option("--model", type=click.Choice(["dit", "wan"]), help="Override the recipe's model.")
@click.option("--resume", is_flag=True, help="Go on from the newest checkpoint, if there is one.")
@click.option("--ray", "on_ray", is_flag=True, help="Run on Ray; so does a submitted job.")
@click.pass_context
def train(
    context: click.Context,
    recipe: Path,
    settings: tuple[str, ...],
    model: str | None,
    resume: bool,
    on_ray: bool,
) -> None:
    """Train the model that RECIPE describes, and save checkpoints of it.

    Under torchrun all ranks train together: torchrun --nproc-per-node 8 -m latentcache train
    RECIPE. Progress goes to stderr, the result as JSON to stdout.
    """
    from latentcache.runner import parse_setting

    overrides = dict(parse_setting(text) for text in settings)
    chosen = read_train_recipe(recipe, overrides | ({"model": model} if model else {}))
    result = _trained(chosen, resume=resume, on_ray=on_ray)
    is_first = int(os.environ.get("RANK", "0")) == 0
    if is_first:
        print_json(asdict(result))
    if result.is_stopped:
        if is_first:
            _tell("stopped; run the same command with --resume to go on")
        context.exit(_STOPPED)


def read_train_recipe(path: Path, overrides: dict[str, Any]) -> "TrainRecipe":
    """Return the recipe in a file with overrides laid over it.

    Raises:
        ConfigError: A key or a value is wrong.
    """
    from latentcache.runner import lay_over
    from latentcache.train import TrainRecipe

    if path.is_dir() or "://" in str(path):
        raise ConfigError(
            f"recipe must be a file, got the folder {path}; of a store, write one with "
            f"`latentcache recipe --train {path} -o train.toml`"
        )
    values = read_toml(path)
    for key, value in overrides.items():
        lay_over(values, key, value)
    return config_from_mapping(TrainRecipe, values, where=str(path))


def _trained(recipe: "TrainRecipe", *, resume: bool, on_ray: bool) -> "SessionResult":
    """Return what came of it, here or on the cluster that this runs on."""
    from latentcache.train import train_here

    draw = _draw_of(recipe)
    is_submitted = _CLUSTER in os.environ and "RANK" not in os.environ
    if not (on_ray or is_submitted):
        return train_here(recipe, resume=resume, tell=_tell, draw=draw)
    from latentcache.runner import submitted_recipe, train_on_cluster

    if is_submitted:
        recipe = submitted_recipe(recipe)
    return train_on_cluster(recipe, resume=resume, tell=_tell, draw=draw)


def _draw_of(recipe: "TrainRecipe") -> "Callable[[Trainer, Path], None]":
    """Return what draws samples; nothing where the packages for that are not installed."""
    try:
        from latentcache.cli.train_pictures import make_draw
    except ModuleNotFoundError as error:
        absent = missing_package(error)
        if absent is None:
            raise
        _tell(f"no samples are drawn: {absent}")
        return lambda _trainer, _path: None
    return make_draw(recipe, _tell)


def _tell(line: str) -> None:
    say(line)
