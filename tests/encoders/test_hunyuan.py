"""HunyuanVideo is whole unless tiles are asked for, and says which."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders.autoencoder import Autoencoder
from latentcache.testing.normalizing import normalize

TinyVideo = Callable[..., tuple[Autoencoder, Any]]
Clip = Callable[..., torch.Tensor]
Encode = Callable[..., dict[str, torch.Tensor]]


def test_clips_are_whole_where_the_class_would_tile(
    tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video("hunyuan")
    with torch.inference_mode():
        tiled = model.encode(clip(33)).latent_dist.mean
        model.use_framewise_encoding = False
        whole = model.encode(clip(33)).latent_dist.mean
    assert torch.equal(encode(encoder, clip(33))["mean"], whole)
    assert not torch.allclose(tiled, whole, atol=0.01)


@pytest.mark.parametrize("num_frames", [1, 13, 17, 25, 29, 33])
def test_tiles_are_those_of_the_class(
    num_frames: int, tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video("hunyuan", knobs="?tile_frames=16")
    with torch.inference_mode():
        tiled = model.encode(clip(num_frames)).latent_dist
    fields = encode(encoder, clip(num_frames))
    assert torch.equal(fields["mean"], tiled.mean)
    assert torch.equal(fields["logvar"], tiled.logvar)


@pytest.mark.parametrize("num_frames", [33, 57, 61])
def test_larger_tiles_are_those_of_the_class(
    num_frames: int, tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video("hunyuan", knobs="?tile_frames=32")
    model.tile_sample_min_num_frames, model.tile_sample_stride_num_frames = 32, 24
    with torch.inference_mode():
        tiled = model.encode(clip(num_frames, 16, 16)).latent_dist.mean
    assert torch.equal(encode(encoder, clip(num_frames, 16, 16))["mean"], tiled)


def test_tiles_can_be_streamed_and_change_the_fingerprint(
    tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, _ = tiny_video("hunyuan", knobs="?tile_frames=16")
    stream, held = encoder.open(32, 64), []
    parts = []
    for frames in clip(53)[0].split(12, dim=1):
        parts.append(stream.push(frames))
        held.append(sum(value.untyped_storage().nbytes() for value in stream._state.values()))
    parts.append(stream.close())
    streamed = torch.cat([part["mean"] for part in parts if part], dim=1)
    assert torch.equal(streamed, encode(encoder, clip(53))["mean"][0])
    assert held[2] == held[3]
    assert encoder.spec.knobs["framewise"] is True
    assert encoder.spec.fingerprint() != tiny_video("hunyuan")[0].spec.fingerprint()


def test_odd_tiles_are_refused(tiny_video: TinyVideo) -> None:
    with pytest.raises(ConfigError, match="tile_frames must be 0 or a multiple of 16, got 12"):
        tiny_video("hunyuan", knobs="?tile_frames=12")


def test_stream_is_refused_with_what_to_do(tiny_video: TinyVideo) -> None:
    with pytest.raises(EncoderError, match=r"group norm averages .* use WEIGHTS\?tile_frames=16"):
        tiny_video("hunyuan")[0].open(32, 64)
    with pytest.raises(EncoderError, match="plan shorter clips"):
        tiny_video("hunyuan15")[0].open(32, 64)


def test_hunyuan15_takes_one_clip_at_a_time(
    tiny_video: TinyVideo, clip: Clip, encode: Encode
) -> None:
    encoder, model = tiny_video("hunyuan15")
    with torch.inference_mode():
        mean = model.encode(clip(9)).latent_dist.mean
    assert torch.equal(encode(encoder, clip(9))["mean"], mean)
    with pytest.raises(EncoderError, match="batch must be at most 1, got 2"):
        encode(encoder, clip(9).repeat(2, 1, 1, 1, 1))


@pytest.mark.parametrize(("name", "factor"), [("hunyuan", 0.476986), ("hunyuan15", 1.03682)])
def test_normalized_by_the_published_factor(
    name: str, factor: float, tiny_video: TinyVideo
) -> None:
    normalizer = tiny_video(name)[0].spec.normalizer
    assert normalizer is not None
    ones = torch.ones(1, 16, 1, 1, 1)
    assert torch.allclose(normalize(ones, normalizer.ops, "CTHW"), ones * factor)
