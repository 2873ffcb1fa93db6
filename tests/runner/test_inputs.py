"""A column may be of the first frame alone, or of it and zeros, as image-to-video models want."""

from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.inputs import INPUTS, Input, decoded_bucket, encoded_bucket, num_zero_frames
from latentcache.core.media import Bucket
from latentcache.decode import MediaTransform
from latentcache.encoders import (
    EncoderOptions,
    SampleMeta,
    encoding_identity,
    load_encoder,
    stored_fields,
)
from latentcache.runner import EncodeOptions, EncodeRequest, Resources
from latentcache.runner.encode.batch_encoder import BatchEncoder, EncodeBatch, EncodePolicy

TINY_WAN = {
    "base_dim": 8,
    "dim_mult": [1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
}


@pytest.mark.parametrize(
    ("asked", "decoded", "encoded", "num_zeros"),
    [("all", 9, 9, 0), ("first_frame", 1, 1, 0), ("first_frame+zeros", 1, 9, 8)],
)
def test_an_input_says_what_is_decoded_and_what_is_encoded(
    asked: Input, decoded: int, encoded: int, num_zeros: int
) -> None:
    clip, picture = Bucket(9, 32, 48), Bucket(1, 32, 48)
    assert decoded_bucket(clip, asked) == Bucket(decoded, 32, 48)
    assert encoded_bucket(clip, asked) == Bucket(encoded, 32, 48)
    assert num_zero_frames(clip, asked) == num_zeros
    assert decoded_bucket(picture, asked) == encoded_bucket(picture, asked) == picture


def test_zeros_are_the_encoders_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    diffusers.AutoencoderKLWan(**TINY_WAN).save_pretrained(tmp_path)
    text, options = f"wan:{tmp_path}", EncoderOptions(device="cpu", is_offline=True)
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, 16, 24, 3), dtype=np.uint8)
    direct = load_encoder(text, options)
    pixels = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0
    # As diffusers' WanImageToVideoPipeline lays them out.
    condition = torch.cat([pixels, pixels.new_zeros(2, 3, 8, 16, 24)], dim=2)
    expected = direct.encode(condition, [SampleMeta(key="a"), SampleMeta(key="b")])
    fields = stored_fields(direct.spec, "mode", "float32")
    encoder = BatchEncoder(
        lambda _: load_encoder(text, options),
        policy=lambda _: EncodePolicy(fields=fields, policy="mode", seed=0),
        threads=1,
    )
    batch = EncodeBatch(pixels_BTHWC=frames, keys=("a", "b"), num_zero_frames=8)
    found = encoder.submit(batch).result()
    alone = encoder.submit_alone(batch, 1).result()
    encoder.close()
    assert found.fields["mean"].shape == (2, 16, 3, 4, 6)
    # Scaling rounds differently by a bit.
    torch.testing.assert_close(found.fields["mean"], torch.stack([e["mean"] for e in expected]))
    torch.testing.assert_close(alone.fields["mean"][0], found.fields["mean"][1])


def test_only_an_input_of_less_than_all_changes_the_fingerprint() -> None:
    spec = load_encoder("dct-video").spec
    found = {
        asked: fingerprint(
            encoding_identity(
                spec,
                policy="moments",
                storage_dtype=None,
                transform_identity=EncodeOptions(input=asked)
                .transform(takes_clips=True)
                .identity(),
                seed=0,
                batch={},
            )
        )
        for asked in INPUTS
    }
    assert len(set(found.values())) == 3
    # As it was before there were inputs.
    assert "input" not in EncodeOptions(input="all").transform(takes_clips=True).identity()


@pytest.mark.parametrize("asked", INPUTS)
def test_a_recorded_transform_is_found_again(asked: Input) -> None:
    transform = EncodeOptions(input=asked).transform(takes_clips=False)
    assert MediaTransform.from_identity(transform.identity()) == transform
    assert (transform.video is None) == (asked == "all")


def test_an_unknown_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="input must be one of all, first_frame"):
        EncodeOptions(input="last_frame")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="input must be one of all, first_frame"):
        MediaTransform.from_identity({**EncodeOptions().transform(takes_clips=True).identity(),
                                      "input": "last_frame"})  # fmt: skip


def test_what_is_trained_on_holds_whole_samples() -> None:
    with pytest.raises(ConfigError, match="column must be another than latents"):
        EncodeRequest(
            column="latents",
            encode=EncodeOptions(input="first_frame"),
            resources=Resources(),
        )
