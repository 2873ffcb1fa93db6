"""Masks, alpha, changed pixels and media of clips, each through a whole run into a batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from latentcache.cli.entry import run
from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
    encode_column,
    plan_corpus,
)
from latentcache.store import TensorBytes, open_store, verify_snapshot
from tests.decode.clips import encode_clip

RESOURCES = Resources(num_actors=1, max_quarantine=1.0)
NUM = 8


def encode(
    store: Path, column: str, asked: str, encoder: str = "dct", **options: Any
) -> EncodeResult:
    encode = EncodeOptions(encoder=encoder, input=asked, **options)
    request = EncodeRequest(column=column, encode=encode, resources=RESOURCES)
    return encode_column(str(store), request, reporter=SilentReporter())


def stored(store: Path, column: str) -> dict[str, np.ndarray]:
    """Return ``z`` of each sample, by key."""
    found = {}
    for key, _, _, fields in open_store(str(store)).snapshot().columns[column].iter_samples():
        z = fields["z"]
        found[key] = np.asarray(z.to_numpy() if isinstance(z, TensorBytes) else z)
    return found


def mask_of(index: int) -> np.ndarray:
    """Return a mask whose left part of so many pixels is white."""
    mask = np.zeros((64, 64), np.uint8)
    mask[:, : 4 * index] = 255
    return mask


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of pictures that are transparent where their masks are black."""
    home = tmp_path_factory.mktemp("pictures")
    (home / "corpus").mkdir()
    for index in range(NUM):
        colours = np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        with_alpha = np.dstack([colours, mask_of(index)])
        Image.fromarray(with_alpha, "RGBA").save(home / f"corpus/{index}.png")
        Image.fromarray(mask_of(index)).save(home / f"corpus/{index}_mask.png")
        labels = np.kron(np.arange(16).reshape(4, 4) * index, np.ones((16, 16)))
        Image.fromarray(labels.astype(np.uint8)).save(home / f"corpus/{index}_labels.png")
    build(
        str(home / "store"),
        PlanRequest(
            corpus_url=str(home / "corpus"),
            options=PlanOptions(resolution_px=64, roles=("mask", "labels")),
            resources=RESOURCES,
        ),
        EncodeRequest(column="latents", encode=EncodeOptions(), resources=RESOURCES),
        reporter=SilentReporter(),
    )
    return home / "store"


def test_a_mask_and_the_alpha_it_was_made_of_are_one_on_the_latent_grid(pictures: Path) -> None:
    for column, asked in (("mask", "role:mask"), ("alpha", "pixels/alpha")):
        assert encode(pictures, column, asked, "mask:latents").encoded == NUM
    masks, alphas = stored(pictures, "mask"), stored(pictures, "alpha")
    rows = sorted(int(mask.astype(int).sum()) for mask in masks.values())
    expected = sorted(
        int(mask_of(index).reshape(8, 8, 8, 8).mean((1, 3)).round().sum()) for index in range(NUM)
    )
    assert rows == expected
    for key, mask in masks.items():
        assert mask.dtype == np.uint8
        assert mask.shape == (1, 8, 8)
        assert np.array_equal(mask, alphas[key])
    assert verify_snapshot(open_store(str(pictures)).snapshot()).ok


def test_a_batch_has_masks_as_they_are_stored(pictures: Path) -> None:
    encode(pictures, "mask", "role:mask", "mask:latents")
    masks = {tuple(each.reshape(-1)) for each in stored(pictures, "mask").values()}
    loader = LatentLoader(str(pictures), columns=["latents", "mask"], global_batch_size=4)
    for batch, _ in zip(loader, range(4), strict=False):
        assert batch["mask"].dtype == torch.uint8
        assert batch["mask.present"].all()
        assert {tuple(each.flatten().tolist()) for each in batch["mask"]} <= masks


def test_labels_keep_their_values_where_they_are_resized(pictures: Path, tmp_path: Path) -> None:
    encode(pictures, "labels", "role:labels/nearest", "mask:latents,pool=nearest")
    found = set()
    for each in stored(pictures, "labels").values():
        assert each.shape == (1, 8, 8)
        found |= set(np.unique(each).tolist())
    assert found == {index * cell for index in range(NUM) for cell in range(16)}


def test_grey_pixels_have_no_colour_left(pictures: Path) -> None:
    encode(pictures, "grey", "pixels/grey")
    for z in stored(pictures, "grey").values():
        assert np.abs(z[10:].astype(np.float32)).max() < 0.05  # of dct: the colour planes
        assert np.abs(z[:10].astype(np.float32)).max() > 1


def test_an_amount_is_another_encoding_and_its_default_is_not(pictures: Path) -> None:
    two, default, three = (
        encode(pictures, column, asked).encoding
        for column, asked in (
            ("blur", "pixels/blur=2"),
            ("blur", "pixels/blur"),
            ("more", "pixels/blur=3"),
        )
    )
    assert two == default != three


def test_a_mask_of_a_column_that_is_not_there_is_refused(pictures: Path) -> None:
    with pytest.raises(ConfigError, match="grid of one of the store's columns"):
        encode(pictures, "other", "role:mask", "mask:latnts")


def test_show_puts_roles_beside_the_sample(pictures: Path, tmp_path: Path) -> None:
    encode(pictures, "mask", "role:mask", "mask:latents")
    out = tmp_path / "shown.png"
    assert run(["show", str(pictures), "3.png", "-o", str(out), "--device", "cpu"]) == 0
    with Image.open(out) as image:
        shown = np.asarray(image.convert("RGB"))
    lit = mask_of(3)
    strips = [
        shown[:64, left : left + 64]
        for left in range(shown.shape[1] - 64)
        if np.array_equal(shown[:64, left : left + 64, 0], lit)
    ]
    assert len(strips) == 1
    assert (
        run(["show", str(pictures), "3.png", "--column", "mask", "-o", str(out), "--device", "cpu"])
        == 0
    )


def test_verify_decodes_a_column_of_a_role(
    pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encode(pictures, "mask", "role:mask", "mask:latents")
    asked = ["verify", str(pictures), "--decode", "4", "--column", "mask", "--device", "cpu"]
    assert run(asked) == 0, capsys.readouterr().err


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of clips, each with a video of the same frames and a picture."""
    home = tmp_path_factory.mktemp("clips")
    for folder in ("corpus", "depth", "masks"):
        (home / folder).mkdir()
    for index in range(3):
        data = encode_clip(30, size_px=(64, 64), options={"g": "12"})
        (home / f"corpus/{index}.mp4").write_bytes(data)
        (home / f"depth/{index}.mp4").write_bytes(data if index else data[:-400])
        Image.fromarray(mask_of(index)).save(home / f"masks/{index}.png")
    plan_corpus(
        str(home / "store"),
        PlanRequest(
            corpus_url=str(home / "corpus"),
            options=PlanOptions(
                resolution_px=64,
                frames=(9,),
                clips="uniform:2",
                roles=(f"depth={home / 'depth'}", f"mask={home / 'masks'}"),
            ),
            resources=RESOURCES,
        ),
        reporter=SilentReporter(),
    )
    encode(home / "store", "target", "pixels/nearest", "dct-video")
    return home / "store"


@pytest.mark.slow
def test_a_video_of_a_role_shows_the_frames_of_its_sample(clips: Path) -> None:
    encode(clips, "latents", "pixels", "dct-video")
    found = encode(clips, "depth", "role:depth", "dct-video")
    assert found.encoded + found.quarantined == 6
    assert found.encoded >= 4
    latents, depths = stored(clips, "latents"), stored(clips, "depth")
    for key, depth in depths.items():
        assert np.array_equal(depth, latents[key])
    encode(clips, "last", "last_frame")
    encode(clips, "depth_last", "role:depth:last_frame")
    last = stored(clips, "last")
    for key, each in stored(clips, "depth_last").items():
        assert np.array_equal(each, last[key])


@pytest.mark.slow
def test_a_picture_beside_a_clip_is_one_frame(clips: Path) -> None:
    encode(clips, "latents", "pixels", "dct-video")
    assert encode(clips, "mask", "role:mask", "mask:latents").encoded == 6
    for mask in stored(clips, "mask").values():
        assert mask.shape == (1, 1, 8, 8)
    assert encode(clips, "still", "role:mask", "dct").encoded == 6


def test_a_reference_fifty_times_as_large_costs_no_more_than_its_budget(tmp_path: Path) -> None:
    for folder in ("corpus", "refs"):
        (tmp_path / folder).mkdir()
    for index, size in enumerate(((3200, 3200), (1600, 3200), (70, 96))):
        Image.new("RGB", (64, 64), (index * 50, 0, 0)).save(tmp_path / f"corpus/{index}.png")
        Image.new("RGB", size, (0, index * 50, 0)).save(tmp_path / f"refs/{index}.png")
    store = tmp_path / "store"
    roles = (f"reference.0={tmp_path / 'refs'}",)
    plan_corpus(
        str(store),
        PlanRequest(
            corpus_url=str(tmp_path / "corpus"),
            options=PlanOptions(resolution_px=64, roles=roles),
            resources=RESOURCES,
        ),
        reporter=SilentReporter(),
    )
    assert encode(store, "ref", "role:reference.0", role_resolution=96).encoded == 3
    shapes = sorted(each.shape for each in stored(store, "ref").values())
    assert shapes == [(16, 12, 12), (16, 12, 12), (16, 16, 8)]
