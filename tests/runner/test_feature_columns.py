"""Columns of vision features through a whole run: encoded, verified, measured, loaded, gone on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from latentcache.decode import ImageLimits, ImageTransform, decode_image
from latentcache.encoders import EncoderOptions, load_encoder, make_metas
from latentcache.evaluate import choose_samples
from latentcache.loader import LatentLoader
from latentcache.plan import PlanOptions, read_source
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    encode_column,
)
from latentcache.stats import ColumnStatistics
from latentcache.storage import Folder
from latentcache.store import TensorBytes, open_store, verify_snapshot
from latentcache.testing.drawn import write_drawn_corpus

RESOURCES = Resources(num_actors=1)
NUM, CHANNELS = 20, 32
_SIZE: dict[str, Any] = {"hidden_size": CHANNELS, "num_hidden_layers": 2, "num_attention_heads": 4}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2": ("Dinov2WithRegisters", {**_SIZE, "image_size": 56, "patch_size": 14}),
    "siglip": (
        "SiglipVision",
        {**_SIZE, "intermediate_size": 48, "image_size": 64, "patch_size": 16},
    ),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 20 pictures of two shapes, and two tiny models of random weights."""
    home = tmp_path_factory.mktemp("features")
    write_drawn_corpus(home / "corpus", NUM, seed=2, size_px=96)
    for name, (kind, config) in MODELS.items():
        torch.manual_seed(0)
        made = getattr(transformers, f"{kind}Config")(**config)
        getattr(transformers, f"{kind}Model")(made).save_pretrained(home / name)
    build(
        str(home / "store"),
        PlanRequest(
            corpus_url=str(home / "corpus"),
            options=PlanOptions(resolution_px=96, rows_per_shard=8),
            resources=RESOURCES,
        ),
        EncodeRequest(column="latents", encode=EncodeOptions(), resources=RESOURCES),
        reporter=SilentReporter(),
    )
    for name in MODELS:
        encode(home, name)
    return home


def encode(home: Path, name: str, knobs: str = "", **options: Any) -> EncodeResult:
    asked = EncodeOptions(encoder=f"{name}:{home / name}{knobs}", is_offline=True, **options)
    request = EncodeRequest(column=name, encode=asked, resources=RESOURCES)
    return encode_column(str(home / "store"), request, reporter=SilentReporter())


@pytest.mark.parametrize("name", MODELS)
def test_a_stored_feature_is_that_of_the_planned_picture(home: Path, name: str) -> None:
    view = open_store(str(home / "store")).snapshot().columns[name]
    assert (view.num_encoded, view.num_missing) == (NUM, 0)
    encoder = load_encoder(f"{name}:{home / name}", EncoderOptions(device="cpu", is_offline=True))
    for sample in choose_samples(view, 4):
        data = read_source(Folder.open(sample.corpus_url), sample.source)
        pixels = decode_image(
            data, sample.bucket, sample.geometry, transform=ImageTransform(), limits=ImageLimits()
        )
        low, high = encoder.spec.input_range
        given = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 * (high - low) + low
        expected = encoder.encode(given, make_metas([sample.key], (), seed=0))[0]["z"]
        stored = view.read_row(sample.unit.unit.unit.shard, sample.row).fields["z"]
        array = stored.to_numpy() if isinstance(stored, TensorBytes) else stored
        grid = (sample.bucket.height_px // 16, sample.bucket.width_px // 16)
        assert array.shape == (CHANNELS, *grid)
        assert np.allclose(np.asarray(array, np.float32), expected.numpy(), atol=2e-3, rtol=2e-3)


def test_the_store_with_features_is_whole_and_its_figures_are_finite(home: Path) -> None:
    snapshot = open_store(str(home / "store")).snapshot()
    assert verify_snapshot(snapshot).ok
    for name in MODELS:
        found = ColumnStatistics.from_arrays(snapshot.columns[name].statistics())
        mean = np.asarray(found.latents["z"].pooled.moments.mean)
        assert mean.shape == (CHANNELS,)
        assert np.isfinite(mean).all()


def test_features_come_beside_the_latents_of_the_same_rows(home: Path) -> None:
    loader = LatentLoader(
        str(home / "store"), columns=["latents", "dinov2", "siglip"], global_batch_size=4
    )
    for batch, _ in zip(loader, range(6), strict=False):
        for name in MODELS:
            assert batch[name].shape[:2] == (4, CHANNELS)
            assert batch[name].shape[2] * 2 == batch["latents"].shape[2]


def test_a_finished_column_of_features_is_not_encoded_again(home: Path) -> None:
    assert encode(home, "dinov2").newly_encoded == 0
