from dataclasses import replace
from pathlib import Path

import click
import pytest

from latentcache.cli.build import build
from latentcache.cli.flags import (
    RecipeOption,
    recipe_of,
    was_given,
)
from latentcache.cli.places import corpora_alone, corpus_and_store
from latentcache.cli.recipe import recipe_text
from latentcache.core.errors import ConfigError
from latentcache.plan.plan_options import PlanOptions
from latentcache.runner.build_recipe import Recipe, read_recipe
from latentcache.runner.run_options import EncodeOptions, Resources


def recipe(*arguments: str) -> Recipe:
    with build.make_context("build", list(arguments)) as context:
        return recipe_of(context, **corpus_and_store(context.params["places"]))


def test_what_is_not_given_is_the_config_s_own_default() -> None:
    assert recipe("c", "s") == Recipe(corpus="c", store="s")


def test_of_several_places_the_last_is_the_store(tmp_path: Path) -> None:
    assert recipe("a", "b", "s") == Recipe(corpus=("a", "b"), store="s")
    (tmp_path / "a.tar").touch()
    both = (str(tmp_path), str(tmp_path / "a.tar"))
    assert corpora_alone(both) == {"corpus": list(both)}
    assert corpora_alone((str(tmp_path), "new")) == {"corpus": str(tmp_path), "store": "new"}
    assert corpora_alone(("a",)) == {"corpus": "a"}


def test_a_recipe_may_list_corpora(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('corpus = ["a", "b"]\nstore = "s"\n')
    assert recipe("--config", str(path)).corpus == ("a", "b")


def test_every_flag_sets_its_key() -> None:
    flags = (
        "--resolution 256 --square --min-bucket 3 --max-upscale 1.5 --rows-per-shard 8 --seed 9 "
        "--limit 7 --caption-column alt "
        "--corpus-kind folder --encoder tiny:x --column thing --posterior mode --dtype float32 "
        "--storage-dtype float16 --batch-size 4 --background 1,2,3 --offline --partial "
        "--retry-quarantined --device cpu --address auto --actors 2 --threads 3 --time-limit 7.5 "
        "--max-quarantine 5%"
    )
    assert recipe("c", "s", *flags.split()) == Recipe(
        corpus="c",
        store="s",
        corpus_kind="folder",
        column="thing",
        partial=True,
        retry_quarantined=True,
        plan=PlanOptions(
            resolution_px=256,
            square=True,
            min_bucket=3,
            max_upscale=1.5,
            rows_per_shard=8,
            seed=9,
            limit=7,
            caption_column="alt",
        ),
        encode=EncodeOptions(
            encoder="tiny:x",
            policy="mode",
            dtype="float32",
            storage_dtype="float16",
            batch_size=4,
            background=(1, 2, 3),
            seed=9,
            is_offline=True,
        ),
        resources=Resources(
            device="cpu",
            address="auto",
            num_actors=2,
            threads=3,
            time_limit_s=7.5,
            max_quarantine=0.05,
        ),
    )


RECIPE = """
corpus = "photos"
store = "latents"
[plan]
resolution = 256
seed = 1
[encode]
encoder = "dct:block=4"
"""


def test_flags_win_over_settings_and_settings_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    settings = ("--set", "plan.seed=2", "--set", "plan.max_aspect=3", "--set", "store=elsewhere")
    found = recipe("--config", str(path), *settings, "--seed", "3")
    assert found == Recipe(
        corpus="photos",
        store="elsewhere",
        plan=PlanOptions(resolution_px=256, seed=3, max_aspect=3.0),
        encode=EncodeOptions(encoder="dct:block=4", seed=3),
    )
    assert recipe("--config", str(path)).plan.seed == 1


def test_a_wrong_key_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.replace("seed", "sede"))
    with pytest.raises(ConfigError, match=r"'sede'.*recipe\.toml.*did you mean 'seed'"):
        recipe("--config", str(path))
    with pytest.raises(ConfigError, match="did you mean 'resources'"):
        recipe("c", "s", "--set", "resource.threads=2")


@pytest.mark.parametrize("setting", ["plan.seed", "=3", "plan.seed=many", "store.url=x"])
def test_a_setting_that_makes_no_sense_is_refused(setting: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    with pytest.raises(ConfigError):
        recipe("--config", str(path), "--set", setting)


def test_help_shows_the_defaults_of_the_configs() -> None:
    with click.Context(build, info_name="build") as context:
        shown = " ".join(build.get_help(context).split())
    defaults = Recipe()
    assert f"[default: {defaults.plan.resolution_px}]" in shown
    assert f"[default: {defaults.resources.max_quarantine}]" in shown
    assert f"[default: {defaults.encode.encoder}]" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["--encoder", "dct"], True, id="flag"),
        pytest.param(["--set", "encode.encoder=dct"], True, id="setting"),
        pytest.param(["--config", "RECIPE"], True, id="file"),
        pytest.param(["--set", "encode.seed=1"], False, id="another-key"),
        pytest.param([], False, id="nothing"),
    ],
)
def test_it_is_known_whether_a_key_was_given(
    arguments: list[str], expected: bool, tmp_path: Path
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    given = [str(path) if each == "RECIPE" else each for each in arguments]
    with build.make_context("build", given) as context:
        assert was_given(context, "encode.encoder") is expected


def test_a_recipe_asks_the_runner_for_what_it_says() -> None:
    made = replace(Recipe(corpus="c", store="s", column="x", partial=True), corpus_kind="folder")
    plan, encode = made.plan_request(), made.encode_request()
    assert (plan.corpus_url, plan.corpus_kind, plan.options) == ("c", "folder", made.plan)
    assert (encode.column, encode.allow_partial, encode.encode) == ("x", True, made.encode)


def test_several_columns_have_their_encoders_in_flags_and_in_a_recipe(tmp_path: Path) -> None:
    flags = ("--column", "latents=flux:a=b", "--column", "dino=dinov2:x", "--seed", "3")
    made = recipe("c", "s", *flags)
    asked = made.encode_requests()
    assert [(each.column, each.encode.encoder) for each in asked] == [
        ("latents", "flux:a=b"),
        ("dino", "dinov2:x"),
    ]
    assert all(each.encode.seed == 3 and "encoder" in (each.given or ()) for each in asked)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text(made, Recipe()))
    again = recipe("--config", str(path))
    assert (again.column, again.encode_requests()) == (made.column, asked)


def test_a_column_without_an_encoder_leaves_it_to_the_flag_or_to_what_serves_it() -> None:
    (one,) = recipe("c", "s", "--column", "x", "--encoder", "dct").encode_requests()
    assert (one.column, one.encode.encoder, one.given) == ("x", "dct", frozenset({"encoder"}))
    both = recipe("c", "s", "--column", "x", "--column", "y=dct").encode_requests()
    assert [each.given for each in both] == [frozenset(), frozenset({"encoder"})]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param("--column a=dct --encoder dct", "an encoder must be given once", id="twice"),
        pytest.param("--column a= --column b=dct", "column must be NAME or NAME=ENC", id="empty"),
        pytest.param("--column =dct", "column must be NAME or NAME=ENCODER", id="nameless"),
    ],
)
def test_columns_that_are_not_clear_are_refused(arguments: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        recipe("c", "s", *arguments.split()).encode_requests()


def test_a_command_of_one_column_refuses_several() -> None:
    made = recipe("c", "s", "--column", "a=dct", "--column", "b=tiny:x")
    with pytest.raises(ConfigError, match="column must be one here, got a=dct, b=tiny:x"):
        made.encode_request()


def test_a_flag_and_its_key_are_one_word() -> None:
    for option in build.params:
        if isinstance(option, RecipeOption):
            words = {key.rpartition(".")[2] for key in option.keys}
            assert words == {option.opts[0].removeprefix("--").replace("-", "_")}


def test_what_people_say_for_a_dtype_and_a_size_is_understood() -> None:
    found = recipe(
        "c", "s", "--dtype", "bf16", "--storage-dtype", "fp16", "--resolution", "1024,1024"
    )
    assert (found.encode.dtype, found.encode.storage_dtype) == ("bfloat16", "float16")
    assert found.plan.resolution_px == 1024


def test_a_recipe_file_understands_short_dtypes(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[encode]\ndtype = "bf16"\nstorage_dtype = "fp16"\n')
    encode = read_recipe(path).encode
    assert (encode.dtype, encode.storage_dtype) == ("bfloat16", "float16")


def test_the_address_of_a_dashboard_is_refused_before_anything_is_listed() -> None:
    with pytest.raises(ConfigError, match="the address of a dashboard; name the head, or submit"):
        read_recipe(None, {"resources.address": "http://127.0.0.1:8265"})
