"""A written recipe means what its flags mean, and the page of all keys is true."""

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from latentcache.cli.recipe_keys import recipe_keys
from latentcache.cli.train import read_train_recipe
from latentcache.cli.train_recipe_keys import example_recipe, train_recipe_keys
from latentcache.core.errors import ConfigError
from latentcache.runner.build_recipe import Recipe, read_recipe
from tests.cli.conftest import Cli

DOCS = Path(__file__).parents[2] / "docs"
PAGE, TRAIN_PAGE = DOCS / "recipe.md", DOCS / "train_recipe.md"


def test_a_recipe_says_what_its_flags_say(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    flags = (
        "--resolution",
        256,
        "--encoder",
        "tiny:x?knob=1",
        "--seed",
        3,
        "--background",
        "1,2,3",
    )
    done = cli("recipe", "photos", "s3://b/store", *flags, "-o", path)
    assert done.code == 0, done.err
    made = read_recipe(path)
    assert (made.corpus, made.store, made.encode.encoder) == ("photos", "s3://b/store", flags[3])
    assert (made.plan.resolution_px, made.plan.seed, made.encode.seed) == (256, 3, 3)
    assert made.encode.background == (1, 2, 3)


def test_every_key_stands_in_a_recipe_with_what_it_decides(cli: Cli, tmp_path: Path) -> None:
    text = cli("recipe").out
    assert tomllib.loads(text) == {"plan": {}, "encode": {}, "resources": {}}
    for each in recipe_keys(Recipe()):
        assert f"# {each.name} = " in text
        assert each.says, f"{each.key} must be explained where it is declared"
    whole = "\n".join(
        line.removeprefix("# ") if " = " in line and line.startswith("# ") else line
        for line in text.splitlines()
        if line.startswith("[") or line.split("=")[0].strip("# ").isidentifier()
    )
    path = tmp_path / "whole.toml"
    path.write_text(whole)
    assert read_recipe(path) == Recipe()


def test_the_page_of_keys_is_true(cli: Cli) -> None:
    told = "run: latentcache recipe --markdown > docs/recipe.md"
    assert PAGE.read_text(encoding="utf-8") == cli("recipe", "--markdown").out, told


def test_the_page_of_keys_of_a_training_is_true(cli: Cli) -> None:
    told = "run: latentcache recipe --train --markdown > docs/train_recipe.md"
    assert TRAIN_PAGE.read_text(encoding="utf-8") == cli("recipe", "--train", "--markdown").out, (
        told
    )


def test_every_key_of_a_training_stands_in_a_recipe_that_train_reads(
    cli: Cli, tmp_path: Path
) -> None:
    path = tmp_path / "train.toml"
    done = cli("recipe", "--train", "s3://b/store", "-o", path)
    assert (done.code, "latentcache train" in done.out) == (0, True)
    example = example_recipe("s3://b/store")
    batches = replace(example.batches, global_batch_size=32)  # must be given, so the file gives it
    assert read_train_recipe(path, {}) == replace(example, batches=batches)
    text = path.read_text()
    for each in train_recipe_keys():
        assert f"{each.name} = " in text
        assert each.says, f"{each.key} must be explained where it is declared"
    refused = cli("recipe", "--train", "store", "--resolution", 64)
    assert (refused.code, "--resolution" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("key", "table"),
    [("split", "[[sources]]"), ("filter", "[[sources]]"), ("learning_rate", "[train]")],
)
def test_a_key_outside_its_table_is_refused_with_the_table_named(
    key: str, table: str, tmp_path: Path
) -> None:
    path = tmp_path / "train.toml"
    path.write_text(f'store = "store"\nout = "run"\n{key} = "train"\n')
    with pytest.raises(ConfigError, match=re.escape(f"key '{key}' must be in a table {table}")):
        read_train_recipe(path, {})


def test_a_split_of_a_training_is_said_of_its_source(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text('out = "run"\n[[sources]]\nstore = "store"\nsplit = "train"\n')
    assert read_train_recipe(path, {}).sources[0].split == "train"
    path.write_text('store = "store"\n' + path.read_text())
    with pytest.raises(ConfigError, match=r"store must be left out beside tables \[\[sources\]\]"):
        read_train_recipe(path, {})


def test_a_recipe_on_other_resources_knows_what_was_written_down(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('[plan]\nresolution = 64\n[encode]\nencoder = "dct"\n')
    recipe = read_recipe(path)
    moved = recipe.with_resources(replace(recipe.resources, address="auto"))
    assert moved.resources.address == "auto"
    assert (moved.given, moved.given_of_plan) == (recipe.given, recipe.given_of_plan)
    assert "encoder" in moved.given
