"""The causal Haar keeps its promises about time exactly."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder, stack_fields
from latentcache.encoders.dct import DctEncoder
from latentcache.encoders.dct_video import DctVideoEncoder, haar_bands, haar_images
from latentcache.encoders.spec import Encoder
from latentcache.testing.contract import EncoderContract

CPU = EncoderOptions(device="cpu")
ALL_KEPT = {"block": 4, "keep_luma": 16, "keep_chroma": 16, "motion_luma": 16, "motion_chroma": 16}


def clip(num_frames: int, *, num_rows: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(num_rows, 3, num_frames, 16, 24, generator=generator) * 2 - 1


def encode(encoder: Encoder, pixels: torch.Tensor) -> torch.Tensor:
    return stack_fields(encoder.encode(pixels, [SampleMeta(key="")] * len(pixels)))["z"]


def test_haar_is_half_of_an_orthonormal_transform() -> None:
    images = list(torch.randn(4, 5, dtype=torch.float64).unbind())
    bands = haar_bands(images)
    energy = sum((band**2).sum() for band in bands)
    assert torch.allclose(energy * 4, sum((image**2).sum() for image in images))
    assert torch.allclose(torch.stack(haar_images(bands)), torch.stack(images))


def test_keeping_everything_gives_the_clip_back() -> None:
    encoder = DctVideoEncoder(EncoderOptions(device="cpu", knobs=ALL_KEPT))
    pixels = clip(9, num_rows=2)
    assert torch.allclose(encoder.decode({"z": encode(encoder, pixels)}), pixels, atol=1e-5)


def test_error_is_the_energy_of_what_was_left_out() -> None:
    encoder, pixels = DctVideoEncoder(CPU), clip(9).double()
    z = encode(encoder, pixels.float()).double()
    error = (encoder.decode({"z": z.float()}) - pixels).square().sum()
    # Bands of a group are halves of an orthonormal transform's: a quarter of the energy.
    kept = z[:, :, 0].square().sum() + 4 * z[:, :, 1:].square().sum()
    assert torch.allclose(error, pixels.square().sum() - kept, rtol=1e-4)


def test_first_latent_is_that_of_the_frame_as_an_image_with_no_motion() -> None:
    pixels = clip(5)
    z = encode(DctVideoEncoder(CPU), pixels)
    image = encode(DctEncoder(CPU), pixels[:, :, 0])
    assert torch.equal(z[:, :16, 0], image)
    assert not z[:, 16:, 0].any()


def test_still_clip_has_one_latent_over_and_over() -> None:
    still = clip(1).expand(-1, -1, 9, -1, -1)
    z = encode(DctVideoEncoder(CPU), still)
    assert torch.allclose(z, z[:, :, :1].expand_as(z), atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(pushes=st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_any_pushes_give_the_bits_of_the_whole_clip(pushes: list[int]) -> None:
    encoder, pixels = DctVideoEncoder(CPU), clip(13)
    stream, start, parts = encoder.open(16, 24), 0, []
    for size in [*pushes, 13]:
        part = stream.push(pixels[0, :, start : start + size])
        parts += [part["z"]] if part else []
        start += size
    stream.close()
    assert torch.equal(torch.cat(parts, dim=1), encode(encoder, pixels)[0])


def test_stream_refuses_a_tail() -> None:
    stream = DctVideoEncoder(CPU).open(16, 24)
    stream.push(clip(4)[0])
    with pytest.raises(EncoderError, match="3 frames too many"):
        stream.close()


def test_illegal_frame_count_is_refused() -> None:
    with pytest.raises(EncoderError, match=r"takes 1 \+ k \* 4"):
        encode(DctVideoEncoder(CPU), clip(8))


def test_motion_beyond_the_mean_is_refused() -> None:
    with pytest.raises(ConfigError, match="motion_luma must be 1 to keep_luma = 3"):
        load_encoder("dct-video:keep_luma=3,motion_luma=4", CPU)


class TestDctVideoContract(EncoderContract):
    def make_encoder(self) -> Encoder:
        return load_encoder("dct-video", CPU)
