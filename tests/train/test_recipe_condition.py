"""What a recipe's condition is, is found out before step 1, and said in the recipe's words."""

from typing import Any

import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.loader import LoaderOptions
from latentcache.store import Store
from latentcache.testing.synthetic import (
    SyntheticColumn,
    add_annotation,
    add_column,
    add_generation,
)
from latentcache.train import StepFacts, TrainRecipe
from latentcache.train.recipe_condition import in_recipe_words
from latentcache.train.train_recipe import BatchOptions

NAMES = ["apple", "mango tree", "zebra"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store that was planned from class folders with captions, some of them several."""
    store = Store.create(tmp_path_factory.mktemp("condition") / "store")
    generation = add_generation(store, [(Bucket(1, 64, 64), 40, 16)], classes=NAMES)
    add_annotation(store, generation, "label", lambda _, row: row % 3)
    add_annotation(store, generation, "label_name", lambda _, row: NAMES[row % 3])
    add_annotation(store, generation, "caption", lambda _, row: f"sample {row}")
    add_annotation(store, generation, "captions", lambda _, row: [f"sample {row}", "a sample"])
    add_annotation(store, generation, "number", lambda _, row: row % 5)
    add_column(store, SyntheticColumn())
    return str(store.folder.url)


def recipe(store: str, **given: Any) -> TrainRecipe:
    dit = {"width": 16, "depth": 1, "num_heads": 2, **given.pop("dit", {})}
    batches: Any = {"global_batch_size": 8}
    return TrainRecipe(store=store, out="unused", dit=dit, batches=BatchOptions(**batches), **given)


def test_class_folders_are_trained_on_as_they_stand(folders: str) -> None:
    trainer = recipe(folders, condition="label").make_trainer(CPU)
    assert trainer.model.num_classes == len(NAMES)
    assert trainer.classes == tuple(NAMES)
    trainer.run(until_step=1)
    more = recipe(folders, condition="label", dit={"num_classes": 10}).make_trainer(CPU)
    assert more.model.num_classes == 10


def test_latents_in_bfloat16_are_trained_on_in_float32(folders: str) -> None:
    def losses(dtype: str) -> list[float]:
        torch.manual_seed(0)
        found: list[StepFacts] = []
        trainer = recipe(folders, loader=LoaderOptions(dtype=dtype)).make_trainer(CPU)
        trainer.run(until_step=3, on_step=found.append)
        return [each.loss for each in found]

    exact = losses("float32")
    assert losses("bfloat16") == pytest.approx(exact, rel=1e-2)
    assert losses("bfloat16") != exact


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("caption", "which is text; encode it into a column .*--input text:caption"),
        ("captions", "which is text; encode it into a column .*--input text:captions"),
        ("label_name", 'which is text; write condition = "label", which numbers the 3 names'),
        ("number", "dit.num_classes must be given with labels that are numbers"),
    ],
)
def test_a_condition_that_cannot_be_told_is_refused_with_what_is_needed(
    folders: str, condition: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe(folders, condition=condition).make_trainer(CPU)


def test_the_loader_s_way_out_is_said_in_the_recipe_s_words() -> None:
    said = {
        "pass LoaderOptions(cache=FOLDER), on a disk": "pass loader.cache = FOLDER in the recipe",
        "use Source(store=..., holdout=...)": "use holdout = ... in a table [[sources]]",
        "on the run's, or pass newest=True to move on": "on the run's",
    }
    for python, words in said.items():
        with pytest.raises(ConfigError) as refused, in_recipe_words():
            raise ConfigError(python)
        assert words in str(refused.value)
        assert "(store=" not in str(refused.value)
        assert "newest" not in str(refused.value)
