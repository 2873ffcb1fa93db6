"""A model that is told embedded texts learns from them what nothing else could tell it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.fields import Field
from latentcache.encoders import EncoderOptions
from latentcache.loader import LatentLoader, LoaderOptions
from latentcache.store import Store
from latentcache.testing.synthetic import add_annotation, add_generation
from latentcache.testing.text_fakes import NUM_CHANNELS, WordTower
from latentcache.train import DiT, DiTConfig, StepFacts, Trainer, TrainOptions, draw_noise
from latentcache.train.flow import NOISE_STREAM, TIME_STREAM, draw_times
from tests.train.conftest import IMAGES
from tests.written_columns import write_column

CAPTIONS = ("a red circle", "two violet stars on yellow", "a green square", "")
SHAPE = (4, 4, 4)


def latents_of(number: int) -> np.ndarray:
    """Return what a caption's pictures are: patterns that only the caption tells apart early."""
    return np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)


def embedding(text: str) -> dict[str, np.ndarray]:
    row = WordTower(EncoderOptions()).encode_text(text)
    return {"z": row["z"].half().numpy(), "lengths": row["lengths"].numpy()}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("told") / "store")
    generation = add_generation(store, [(IMAGES, 32, 16)])
    add_annotation(store, generation, "caption", lambda _, row: CAPTIONS[row % 4])
    latents = Field(name="z", kind="point", axes="CHW", channels=4, dtype="float32")
    write_column(store, "latents", (latents,), lambda _, row: {"z": latents_of(row % 4)})
    fields = (
        Field(name="z", kind="point", axes="NC", channels=NUM_CHANNELS, dtype="float16"),
        Field(name="lengths", kind="aux", axes="K", channels=None, dtype="int32"),
    )
    write_column(
        store,
        "text",
        fields,
        lambda _, row: embedding(CAPTIONS[row % 4]),
        spec={"modality": "text", "knobs": {}},
        transform={"kind": "text", "input": "text:caption"},
        empty=embedding(""),
    )
    return store


def make_trainer(store: Store, **options: object) -> Trainer:
    loader = LatentLoader(
        store,
        columns=["latents", "text"],
        global_batch_size=16,
        normalize=False,
        options=LoaderOptions(),
    )
    torch.manual_seed(0)
    model = DiT(DiTConfig(channels=4, width=32, depth=2, num_heads=2, text_dim=NUM_CHANNELS))
    chosen = {"num_steps": 150, "learning_rate": 1e-2, "time_shift": 6.0, "condition_drop": 0.0}
    return Trainer(model, loader, TrainOptions(**{**chosen, **options}), condition="text")  # type: ignore[arg-type]


def floor_of(latents: torch.Tensor, seeds: torch.Tensor, shift: float) -> float:
    """Return the loss of the best model that is told nothing, on these very draws.

    Data are four points, so that what noisy latents tell of them is a softmax of distances.
    """
    points = torch.stack([torch.from_numpy(latents_of(n)) for n in range(4)]).flatten(1)
    times = draw_times(seeds, stream=TIME_STREAM, shift=shift)[:, None]
    noise = draw_noise(seeds, SHAPE, stream=NOISE_STREAM).flatten(1)
    flat = latents.flatten(1).float()
    noisy = torch.lerp(flat, noise, times)
    distances = (noisy[:, None] - (1 - times[..., None]) * points).square().sum(-1)
    mean = torch.softmax(-distances / (2 * times**2), dim=1) @ points
    return float(((flat - mean) / times).square().mean())


def test_a_model_that_is_told_texts_learns_below_the_floor_of_those_that_are_not(
    store: Store,
) -> None:
    trainer = make_trainer(store)
    losses: list[StepFacts] = []
    trainer.run(on_step=losses.append)
    shift = trainer.options.time_shift
    loader = LatentLoader(store, columns=["latents"], global_batch_size=16, normalize=False)
    floors = [
        floor_of(batch["latents"], batch["noise_seed"], shift)
        for batch, _ in zip(loader, range(150), strict=False)
    ]
    told = np.mean([facts.loss for facts in losses[-50:]])
    assert told < 0.5 * np.mean(floors[-50:])


def test_a_dropped_text_is_the_stored_empty_one(store: Store) -> None:
    dropped = make_trainer(store, num_steps=1, condition_drop=1.0)
    conditioning = dropped._conditioning
    batch = next(iter(dropped._loader))
    told = conditioning.read(batch, torch.device("cpu"))
    assert isinstance(told, tuple)
    some = torch.arange(16) % 2 == 0
    found = conditioning.drop(told, some)
    assert isinstance(found, tuple)
    empty = torch.from_numpy(embedding("")["z"])
    for row in range(16):
        expected = empty if some[row] else told[0][row][told[1][row]]
        assert torch.equal(found[0][row][found[1][row]], expected)
    guided = conditioning.without(told)
    assert isinstance(guided, tuple)
    assert guided[1].sum(1).tolist() == [len(empty)] * 16
    dropped.run()


def test_a_recipe_finds_the_width_of_the_texts(store: Store, tmp_path: Path) -> None:
    from latentcache.train.train_recipe import BatchOptions, TrainRecipe  # noqa: PLC0415

    recipe = TrainRecipe(
        store=str(store.folder.url),
        out=str(tmp_path),
        condition="text",
        batches=BatchOptions(global_batch_size=8),
        dit={"width": 16, "depth": 1, "num_heads": 2},
        train=TrainOptions(num_steps=2),
    )
    trainer = recipe.make_trainer(torch.device("cpu"))
    trainer.run()
    assert trainer.model.text_dim == NUM_CHANNELS
    assert trainer.sample(trainer.last_told, guidance=2.0, num_steps=2).shape[1:] == SHAPE
