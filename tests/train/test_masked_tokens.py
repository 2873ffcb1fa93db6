"""A masked model of indices: it learns more than how often each comes, resumes, and samples."""

import math
from pathlib import Path

import pytest
import torch

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader, LoaderOptions
from latentcache.stats import ColumnStatistics
from latentcache.store import open_store
from latentcache.train import (
    DiTConfig,
    MaskedTransformer,
    StepFacts,
    Trainer,
    TrainOptions,
    TrainRecipe,
    draw_masks,
    load_weights,
    sample_masked,
)
from tests.index_store import make_index_store
from tests.train.conftest import tiny_dit

SIZE = 300


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_index_store(tmp_path_factory.mktemp("masked")))


def tiny_masked(size: int = SIZE) -> MaskedTransformer:
    torch.manual_seed(0)
    config = DiTConfig(
        channels=32,
        width=32,
        depth=2,
        num_heads=2,
        patch=(1, 1, 1),
        has_position_embedding=True,
    )
    return MaskedTransformer(config, codebook_size=size)


def trainer_of(store: str, **options: object) -> Trainer:
    loader = LatentLoader(store, global_batch_size=16, seed=1)
    chosen = TrainOptions(**{"num_steps": 6, "learning_rate": 1e-2, **options})  # type: ignore[arg-type]
    return Trainer(tiny_masked(), loader, chosen)


def losses_of(trainer: Trainer, until_step: int | None = None) -> list[float]:
    found: list[StepFacts] = []
    trainer.run(until_step=until_step, on_step=found.append)
    return [facts.loss for facts in found]


def test_it_learns_more_than_how_often_each_index_comes(store: str) -> None:
    view = open_store(store).snapshot().columns["latents"]
    usage = ColumnStatistics.from_arrays(view.statistics()).codes["indices"].pooled
    assert len(usage.code) > 8  # a codebook in use, or the test tests nothing
    losses = losses_of(trainer_of(store, num_steps=200))
    assert losses[0] == pytest.approx(math.log(SIZE), rel=0.1)
    assert sum(losses[-20:]) / 20 < 0.97 * usage.entropy_nats(0)


def test_a_resumed_run_has_the_same_losses_to_the_bit(store: str, tmp_path: Path) -> None:
    expected = losses_of(trainer_of(store))
    first = trainer_of(store)
    before = losses_of(first, until_step=3)
    first.save(tmp_path / "run.safetensors")
    second = trainer_of(store)
    second.load(tmp_path / "run.safetensors")
    assert before + losses_of(second) == expected
    model, normalizer = load_weights(tmp_path / "run.safetensors")
    assert isinstance(model, MaskedTransformer)
    assert normalizer.ops == ()


def test_every_sample_hides_a_cell_and_its_own_whatever_the_batch() -> None:
    seeds = torch.arange(200) * 7919
    masks = draw_masks(seeds, (4, 6), stream=2)
    shares = masks.flatten(1).float().mean(dim=1)
    assert masks.flatten(1).any(dim=1).all()
    assert torch.equal(masks[50:60], draw_masks(seeds[50:60], (4, 6), stream=2))
    assert float(shares.mean()) == pytest.approx(2 / math.pi, abs=0.05)  # the mean of cos


def test_samples_hold_indices_alone_and_belong_to_their_seeds(store: str) -> None:
    trainer = trainer_of(store, num_steps=2)
    trainer.run()
    drawn = trainer.sample(None, num_samples=3, num_steps=4)
    assert (drawn.dtype, tuple(drawn.shape)) == (torch.int64, (3, 8, 8))
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < SIZE
    seeds = torch.tensor([5, 6])
    both = sample_masked(tiny_masked(), (4, 4), seeds, codebook_size=SIZE, num_steps=20)
    one = sample_masked(tiny_masked(), (4, 4), seeds[1:], codebook_size=SIZE, num_steps=20)
    assert torch.equal(both[1:], one)


def test_models_that_do_not_fit_are_refused_in_a_sentence(store: str) -> None:
    loader = LatentLoader(store, global_batch_size=8)
    with pytest.raises(ConfigError, match="model must be one of indices for column latents"):
        Trainer(tiny_dit(num_classes=None), loader, TrainOptions())
    with pytest.raises(ConfigError, match="codebook_size of the model must be 300, got 7"):
        Trainer(tiny_masked(7), loader, TrainOptions())
    with pytest.raises(ConfigError, match="must be left out for a model of indices"):
        Trainer(tiny_masked(), loader, TrainOptions(), loss_mask="mask")
    with pytest.raises(ConfigError, match=r"patch must be \(1, 1, 1\)"):
        MaskedTransformer(DiTConfig(channels=32, width=32, num_heads=2), codebook_size=7)


def test_a_recipe_trains_on_indices_or_on_their_vectors(store: str, tmp_path: Path) -> None:
    values = {
        "store": store,
        "out": str(tmp_path),
        "model": "masked",
        "dit": {"width": 32, "depth": 1, "num_heads": 2},
        "batches": {"global_batch_size": 8},
        "train": {"num_steps": 2},
    }
    recipe = config_from_mapping(TrainRecipe, values, where="here")
    assert len(losses_of(recipe.make_trainer(torch.device("cpu")))) == 2
    on_vectors = {**values, "model": "dit", "loader": {"indices": "vectors"}}
    recipe = config_from_mapping(TrainRecipe, on_vectors, where="here")
    trainer = recipe.make_trainer(torch.device("cpu"))
    assert len(losses_of(trainer)) == 2
    options = LoaderOptions(indices="vectors")
    shapes = LatentLoader(store, global_batch_size=8, options=options).shapes()
    assert next(iter(shapes.values()))["latents"] == (8, 4, 8, 8)
