"""Small stores to train from, and models that take milliseconds a step."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader
from latentcache.store import Store
from latentcache.testing.synthetic import (
    SyntheticColumn,
    add_annotation,
    add_column,
    add_generation,
)
from latentcache.train import DiT, DiTConfig, Trainer, TrainOptions

NUM_CLASSES = 4
IMAGES, WIDE, CLIPS = Bucket(1, 32, 32), Bucket(1, 24, 40), Bucket(9, 32, 32)

MakeTrainer = Callable[..., Trainer]


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


def make_store(path: Path, buckets: list[Bucket], **column: object) -> Store:
    """Return a store of 40 labelled samples a bucket; labels are 0 to 3 and sometimes none."""
    store = Store.create(path)
    generation = add_generation(store, [(bucket, 40, 16) for bucket in buckets])
    add_annotation(store, generation, "label", lambda _, row: row % NUM_CLASSES)
    add_annotation(
        store, generation, "some_label", lambda _, row: None if row == 3 else row % NUM_CLASSES
    )
    is_video = any(bucket.num_frames > 1 for bucket in buckets)
    add_column(store, SyntheticColumn(**{"is_video": is_video, **column}))  # type: ignore[arg-type]
    return store


@pytest.fixture(scope="session")
def image_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("train") / "images"
    return str(make_store(path, [IMAGES, WIDE]).folder.url)


@pytest.fixture(scope="session")
def clip_store(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("train") / "clips"
    return str(make_store(path, [CLIPS, IMAGES]).folder.url)


def tiny_dit(
    *, channels: int = 4, num_classes: int | None = NUM_CLASSES, width: int = 16, seed: int = 0
) -> DiT:
    torch.manual_seed(seed)
    return DiT(
        DiTConfig(channels=channels, width=width, depth=2, num_heads=2, num_classes=num_classes)
    )


def tiny_trainer(store: str, *, micro_batches: int = 1, **options: object) -> Trainer:
    loader = LatentLoader(
        store,
        columns=["latents", "label"],
        global_batch_size=8,
        micro_batches=micro_batches,
        seed=5,
    )
    chosen = TrainOptions(**{"num_steps": 12, "learning_rate": 3e-3, **options})  # type: ignore[arg-type]
    return Trainer(tiny_dit(), loader, chosen, condition="label")
