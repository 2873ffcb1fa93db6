"""What is given beside noisy latents: a clip's first frame, and a mask that says so."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader, Normalizer
from latentcache.train import DiT, DiTConfig, Trainer, TrainOptions
from latentcache.train.beside import Beside
from latentcache.train.conditioning_latents import (
    ConditioningLatents,
    find_conditioning_latents,
)

OPS = ({"op": "multiply", "values": [2.0], "axis": "C"},)
CONDITIONING = ConditioningLatents(
    column="cond",
    channels=4 + 3,
    normalizer=Normalizer(mode="given", source="given", axes="CTHW", ops=OPS),
)
LATENTS = torch.randn(2, 3, 5, 4, 6)


def test_a_clip_is_given_as_wan_takes_it() -> None:
    cond = torch.randn(2, 3, 5, 4, 6)
    given = CONDITIONING.read({"cond": cond}, LATENTS)
    # As diffusers' WanImageToVideoPipeline lays out its mask, for 17 frames by fours.
    mask = torch.ones(2, 1, 17, 4, 6)
    mask[:, :, 1:] = 0
    first = mask[:, :, :1].repeat_interleave(4, dim=2)
    mask = torch.cat([first, mask[:, :, 1:]], dim=2).view(2, -1, 4, 4, 6).transpose(1, 2)
    assert torch.equal(given, torch.cat([mask, 2 * cond], dim=1))


def test_one_frame_is_given_at_the_first_and_nothing_after_it() -> None:
    cond = torch.randn(2, 3, 1, 4, 6)
    given = CONDITIONING.read({"cond": cond}, LATENTS)
    assert torch.equal(given[:, 4:, :1], 2 * cond)
    assert not given[:, :, 1:].any()
    assert (given[:, :4, 0] == 1).all()


@pytest.mark.parametrize("num_frames", [1, 5])
def test_a_window_after_the_first_frame_is_not_told_that_it_has_it(num_frames: int) -> None:
    cond = torch.randn(2, 3, num_frames, 4, 6)
    given = CONDITIONING.read({"cond": cond, "window_start": torch.tensor([0, 2])}, LATENTS)
    assert (given[0, :4, 0] == 1).all()
    assert not given[1, :4].any()
    assert bool(given[1, 4:].any()) == (num_frames == 5)


def test_a_picture_is_given_nothing() -> None:
    for latents in (LATENTS[:, :, :1], LATENTS[:, :, 0]):
        given = CONDITIONING.read({"cond": latents}, latents)
        assert given.shape == (2, 7, *latents.shape[2:])
        assert not given.any()


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({}, "condition_latents must be a column that the loader reads"),
        ({"cond": LATENTS[:, :, :2]}, "cond must be latents of the size"),
        ({"cond": [LATENTS[0]]}, "cond must be latents of the size .*got list"),
    ],
)
def test_other_columns_are_refused(batch: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CONDITIONING.read(batch, LATENTS)


def test_a_model_and_a_column_that_do_not_fit_are_refused() -> None:
    shapes = {"latents": (4, 3, 5, 4, 6), "cond": (4, 3, 5, 4, 6)}

    class Given:
        conditioning_channels = 2

    for column in (None, "cond", "label"):
        with pytest.raises(ConfigError, match="condition_latents must be an encoded column"):
            find_conditioning_latents(Given(), column, shapes, CONDITIONING.normalizer)
    assert find_conditioning_latents(object(), None, shapes, CONDITIONING.normalizer) is None


def test_guidance_gives_each_half_the_same() -> None:
    seen = []

    def model(latents: Any, times: Any, condition: Any, conditioning_latents: Any) -> Any:
        seen.append(conditioning_latents)
        return latents

    conditioning_latents = torch.arange(2.0)[:, None]
    call: Callable[..., Any] = Beside(conditioning_latents=conditioning_latents).around(model)
    call(torch.zeros(2, 3), torch.zeros(2), None)
    call(torch.zeros(4, 3), torch.zeros(4), None)
    assert seen[0].flatten().tolist() == [0, 1]
    assert seen[1].flatten().tolist() == [0, 1, 0, 1]


def test_a_model_reads_what_is_beside_and_is_described_by_it() -> None:
    torch.manual_seed(0)
    model = DiT(DiTConfig(channels=3, conditioning_channels=7, width=16, depth=1, num_heads=2))
    assert model.describe()["conditioning_channels"] == 7
    assert (
        "conditioning_channels" not in DiT(DiTConfig(channels=3, width=16, num_heads=2)).describe()
    )
    torch.nn.init.normal_(model.unembed.weight)
    given = CONDITIONING.read({"cond": LATENTS}, LATENTS)
    times = torch.rand(2)
    told, untold = model(LATENTS, times, None, given), model(LATENTS, times, None, 0 * given)
    assert told.shape == LATENTS.shape
    assert not torch.allclose(told, untold)


def test_a_trainer_without_the_column_says_so(clip_store: str) -> None:
    model = DiT(DiTConfig(channels=4, conditioning_channels=5, width=16, depth=1, num_heads=2))
    loader = LatentLoader(clip_store, global_batch_size=4)
    with pytest.raises(ConfigError, match="condition_latents must be an encoded column"):
        Trainer(model, loader, TrainOptions())
