"""Models that edit, and losses that count in places: each learns what nothing else could tell."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.loader import LatentLoader
from latentcache.store import Store
from latentcache.testing.synthetic import add_generation
from latentcache.train import DiT, DiTConfig, StepFacts, Trainer, TrainOptions
from latentcache.train.reference_tokens import reference_tokens
from latentcache.train.train_recipe import BatchOptions, TrainRecipe
from tests.train.conftest import IMAGES
from tests.train.test_text import floor_of, latents_of
from tests.written_columns import write_column

SHAPE = (4, 4, 4)
SIZES = ((2, 2), (4, 2), (2, 6), (4, 4))
ROLE = {"kind": "image", "role": {"version": 1, "geometry": "own"}}


def reference_of(number: int) -> np.ndarray:
    """Return a reference that tells which of four pictures it belongs to, at a size of its own."""
    return np.random.default_rng(100 + number).normal(size=(4, *SIZES[number])).astype(np.float32)


def mask_of(number: int) -> np.ndarray:
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[:, :, 2:] = 255
    return mask if number else np.zeros_like(mask)


def half_noise(row: int) -> np.ndarray:
    """Return a pattern on the right, and on the left what nobody can tell."""
    picture = latents_of(0)
    picture[:, :, :2] = np.random.default_rng(1000 + row).normal(size=(4, 4, 2)) * 3
    return picture


def field(channels: int, dtype: str = "float32") -> Field:
    return Field(name="z", kind="point", axes="CHW", channels=channels, dtype=dtype)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("edits") / "store")
    add_generation(store, [(IMAGES, 32, 16)])
    columns: list[tuple[str, Field, Callable[[int], np.ndarray]]] = [
        ("latents", field(4), lambda row: latents_of(row % 4)),
        ("source", field(4), lambda row: reference_of(row % 4)),
        ("noisy", field(4), half_noise),
        ("area", field(1, "uint8"), lambda _: mask_of(1)),
    ]
    for name, kind, value_of in columns:
        transform = ROLE if name == "source" else None
        write_column(
            store, name, (kind,), _row(value_of), transform=transform,
        )  # fmt: skip
    return store


def _row(value_of: Callable[[int], np.ndarray]) -> Callable[[int, int], dict[str, np.ndarray]]:
    return lambda shard, row: {"z": value_of(16 * shard + row)}


def loader_of(store: Store, *columns: str) -> LatentLoader:
    return LatentLoader(store, columns=list(columns), global_batch_size=16, normalize=False)


def options(**chosen: object) -> TrainOptions:
    values = {"num_steps": 150, "learning_rate": 1e-2, "time_shift": 6.0, "condition_drop": 0.0}
    return TrainOptions(**{**values, **chosen})  # type: ignore[arg-type]


def dit(**chosen: object) -> DiT:
    torch.manual_seed(0)
    values = {"channels": 4, "width": 32, "depth": 2, "num_heads": 2}
    return DiT(DiTConfig(**{**values, **chosen}))  # type: ignore[arg-type]


def test_a_model_that_edits_learns_below_the_floor_of_those_without_references(
    store: Store,
) -> None:
    trainer = Trainer(
        dit(takes_references=True),
        loader_of(store, "latents", "source"),
        options(),
        references=("source",),
    )
    losses: list[StepFacts] = []
    trainer.run(on_step=losses.append)
    floors = [
        floor_of(batch["latents"], batch["noise_seed"], trainer.options.time_shift)
        for batch, _ in zip(loader_of(store, "latents"), range(150), strict=False)
    ]
    told = np.mean([facts.loss for facts in losses[-50:]])
    assert told < 0.5 * np.mean(floors[-50:])
    assert trainer.sample(None, num_steps=2, num_samples=3).shape == (3, *SHAPE)


def test_a_loss_mask_leaves_out_what_cannot_be_learned(store: Store) -> None:
    found = {}
    for mask in (None, "area"):
        columns = [name for name in ("noisy", mask) if name]
        trainer = Trainer(dit(), loader_of(store, *columns), options(), loss_mask=mask)
        losses: list[StepFacts] = []
        trainer.run(on_step=losses.append)
        found[mask] = float(np.mean([facts.loss for facts in losses[-50:]]))
    assert found["area"] < 0.3 * found[None]


def test_the_loss_of_a_masked_cell_does_not_count(store: Store) -> None:
    from latentcache.train import flow_loss  # noqa: PLC0415

    latents, noise = torch.randn(2, 4, 4, 4), torch.randn(2, 4, 4, 4)
    weights = torch.zeros(2, 1, 4, 4)
    weights[:, :, 1:3] = 1
    model = lambda noisy, *_: noisy * 0  # noqa: E731
    given = flow_loss(model, latents, None, times=torch.rand(2), noise=noise, weights=weights)
    latents[:, :, 0], noise[:, :, 3] = 100.0, -100.0
    other = flow_loss(model, latents, None, times=torch.rand(2), noise=noise, weights=weights)
    assert torch.allclose(given, other)
    assert torch.allclose(
        given, (noise - latents)[:, :, 1:3].square().mean(dim=(1, 2, 3)), rtol=1e-5
    )


def test_references_keep_their_places_whatever_their_neighbours(store: Store) -> None:
    one, other = torch.randn(4, 4, 4), torch.randn(4, 3, 6)
    none = one[:0]
    found = reference_tokens([(one, other), (none, other), (none, none)], (1, 2, 2), 4)
    assert found.values.shape == (3, 10, 16)
    assert found.mask.sum(1).tolist() == [10, 6, 0]
    assert torch.equal(found.values[0, 4:], found.values[1, :6])
    assert torch.equal(found.places[0, 4:], found.places[1, :6])
    assert found.places[0, :4].tolist() == [[-1, y, x] for y in range(2) for x in range(2)]
    assert set(found.places[1, :6, 0].tolist()) == {-2}


def test_what_is_padding_changes_nothing(store: Store) -> None:
    model = dit(takes_references=True).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    latents, times = torch.randn(2, 4, 4, 4), torch.rand(2)
    small, large = torch.randn(4, 2, 2), torch.randn(4, 4, 4)
    both = model(latents, times, None, None, reference_tokens([[small], [large]], (1, 2, 2), 4))
    alone = model(latents[:1], times[:1], None, None, reference_tokens([[small]], (1, 2, 2), 4))
    assert torch.allclose(both[:1], alone, atol=1e-5)
    without = model(latents[:1], times[:1])
    assert not torch.allclose(alone, without, atol=1e-3)


def test_a_recipe_builds_a_model_that_takes_references(store: Store, tmp_path: Path) -> None:
    recipe = TrainRecipe(
        store=str(store.folder.url),
        out=str(tmp_path),
        references=("source",),
        loss_mask="area",
        normalize="none",
        batches=BatchOptions(global_batch_size=8),
        dit={"width": 16, "depth": 1, "num_heads": 2},
        train=TrainOptions(num_steps=2),
    )
    trainer = recipe.make_trainer(torch.device("cpu"))
    trainer.run()
    assert trainer.model.takes_references


def test_a_model_that_takes_no_references_is_refused(store: Store) -> None:
    with pytest.raises(ConfigError, match="takes_references = true"):
        Trainer(dit(), loader_of(store, "latents", "source"), options(), references=("source",))


def test_a_mask_of_another_size_is_refused(store: Store) -> None:
    trainer = Trainer(
        dit(), loader_of(store, "latents", "source"), options(num_steps=1), loss_mask="source"
    )
    with pytest.raises(ConfigError, match="masks on the grid of the latents"):
        trainer.run()
