"""Masks on a latent grid: averages of whole cells, or the value in their middle."""

import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.encoders import Encoder, EncoderOptions, load_encoder, make_metas, on_grid_of
from latentcache.testing.contract import EncoderContract


class TestMaskOfPictures(EncoderContract):
    def make_encoder(self) -> Encoder:
        return load_encoder("mask:factor=8")


class TestMaskOfClips(EncoderContract):
    def make_encoder(self) -> Encoder:
        return load_encoder("mask:factor=8,frames=4k+1")


def encode(text: str, pixels: torch.Tensor) -> torch.Tensor:
    encoder = load_encoder(text, EncoderOptions(device="cpu"))
    rows = encoder.encode(pixels, make_metas(["k"] * len(pixels), (), seed=0))
    return torch.stack([row["z"] for row in rows])


def test_a_cell_is_the_share_that_is_white() -> None:
    mask = torch.zeros(1, 3, 32, 48)
    mask[..., :20, :12] = 1
    cells = encode("mask", mask)
    assert cells.dtype == torch.uint8
    assert cells[0, 0].tolist() == [
        [255, 128, 0, 0, 0, 0],
        [255, 128, 0, 0, 0, 0],
        [128, 64, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
    ]


def test_labels_are_not_averaged() -> None:
    labels = torch.randint(0, 5, (2, 1, 4, 4)).repeat_interleave(8, 2).repeat_interleave(8, 3)
    pixels = (labels * 40 / 255).repeat(1, 3, 1, 1)
    cells = encode("mask:pool=nearest", pixels)
    assert torch.equal(cells, (labels[:, :, ::8, ::8] * 40).to(torch.uint8))


def test_frames_of_a_group_are_averaged_and_the_first_stands_alone() -> None:
    clip = torch.zeros(1, 3, 9, 8, 8)
    clip[:, :, 0] = 1
    clip[:, :, 5:7] = 1
    assert encode("mask:frames=4k+1", clip).flatten().tolist() == [255, 0, 128]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"modality": "image", "spatial_factor": [16, 16]}, "mask:factor=16"),
        (
            {
                "modality": "video",
                "spatial_factor": [8, 8],
                "frame_rule": {"first": 1, "step": 4, "latent_first": 1, "latent_step": 1},
            },
            "mask:factor=8,frames=4k+1",
        ),
    ],
)
def test_the_grid_is_that_of_the_column(spec: dict[str, object], expected: str) -> None:
    assert on_grid_of("latents", spec, "") == expected
    assert load_encoder(expected).spec.knobs["factor"] == spec["spatial_factor"][0]  # type: ignore[index]


def test_a_column_without_a_grid_is_refused() -> None:
    with pytest.raises(ConfigError, match="say the grid itself"):
        on_grid_of("text", {"modality": "text", "spatial_factor": [1, 1]}, "")


def test_decoding_shows_each_cell_as_a_square() -> None:
    encoder = load_encoder("mask")
    z = torch.from_numpy(np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3) * 50)
    pixels = encoder.decode({"z": z})  # type: ignore[attr-defined]
    assert pixels.shape == (1, 3, 16, 24)
    assert torch.equal((pixels[0, 0, ::8, ::8] * 255).round().to(torch.uint8), z[0, 0])
