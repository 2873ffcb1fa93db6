"""A written recipe means what its flags mean, and the page of all keys is true."""

import tomllib
from pathlib import Path

from latentcache.cli.recipe_keys import recipe_keys
from latentcache.runner.build_recipe import Recipe, read_recipe
from tests.cli.conftest import Cli

PAGE = Path(__file__).parents[2] / "docs" / "recipe.md"


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
