"""A column may be of the first frame alone, or of it and zeros, as image-to-video models want."""

from dataclasses import replace
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.inputs import (
    FRAMES,
    decoded_bucket,
    encoded_bucket,
    frame_numbers,
    num_zero_frames,
)
from latentcache.core.media import Bucket, Geometry, SourceRef
from latentcache.decode import ImageLimits, MediaTransform
from latentcache.encoders import (
    EncoderOptions,
    SampleMeta,
    check_encoder,
    encoding_identity,
    load_encoder,
    stored_fields,
)
from latentcache.runner import EncodeOptions, EncodeRequest, Resources
from latentcache.runner.decode.decode_tasks import (
    DecodeOrder,
    DecodeRow,
    DecodeSettings,
    decode_rows,
)
from latentcache.runner.forward.batch_encoder import (
    BatchEncoder,
    EncodeBatch,
    EncodePolicy,
)
from latentcache.runner.forward.encode_thread import encode_thread
from latentcache.storage import Folder
from tests.decode.clips import encode_clip, read_number

TINY_WAN = {
    "base_dim": 8,
    "dim_mult": [1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
}


@pytest.mark.parametrize(
    ("asked", "numbers", "decoded", "encoded", "num_zeros"),
    [
        ("pixels", (), 9, 9, 0),
        ("text:caption", (), 9, 9, 0),
        ("first_frame", (), 1, 1, 0),
        ("first_frame+zeros", (), 1, 9, 8),
        ("last_frame", (8,), 1, 1, 0),
        ("first+last_frame+zeros", (0, 8), 2, 9, 7),
    ],
)
def test_an_input_says_what_is_decoded_and_what_is_encoded(
    asked: str, numbers: tuple[int, ...], decoded: int, encoded: int, num_zeros: int
) -> None:
    clip, picture = Bucket(9, 32, 48), Bucket(1, 32, 48)
    assert decoded_bucket(clip, asked) == Bucket(decoded, 32, 48)
    assert encoded_bucket(clip, asked) == Bucket(encoded, 32, 48)
    assert num_zero_frames(clip, asked) == num_zeros
    assert frame_numbers(clip, asked) == numbers
    assert frame_numbers(picture, asked) == ()
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
        thread=encode_thread(1),
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
        for asked in FRAMES
    }
    assert len(set(found.values())) == len(FRAMES)
    # As it was before there were inputs.
    assert "input" not in EncodeOptions(input="pixels").transform(takes_clips=True).identity()


@pytest.mark.parametrize("asked", FRAMES)
def test_a_recorded_transform_is_found_again(asked: str) -> None:
    transform = EncodeOptions(input=asked).transform(takes_clips=False)
    assert MediaTransform.from_identity(transform.identity()) == transform
    assert (transform.video is None) == (asked == "pixels")


def test_an_unknown_input_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"input must be one of .* mean 'last_frame'"):
        EncodeOptions(input="lastframe")
    with pytest.raises(ConfigError, match="text:NAME with the name of an annotation, got 'text:'"):
        EncodeOptions(input="text:")
    with pytest.raises(ValueError, match="input must be one of first\\+last_frame"):
        MediaTransform.from_identity({**EncodeOptions().transform(takes_clips=True).identity(),
                                      "input": "all"})  # fmt: skip


def test_what_is_trained_on_holds_whole_samples() -> None:
    with pytest.raises(ConfigError, match="column must be another than latents"):
        EncodeRequest(
            column="latents",
            encode=EncodeOptions(input="first_frame"),
            resources=Resources(),
        )


def test_ends_of_a_clip_are_the_frames_that_the_whole_clip_has_there(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(encode_clip(30, size_px=(64, 64)))
    row = DecodeRow(
        row=0,
        key="0" * 20,
        source=SourceRef(path="a.mp4"),
        geometry=Geometry(
            source_width_px=64,
            source_height_px=64,
            resized_width_px=64,
            resized_height_px=64,
            crop_left_px=0,
            crop_top_px=0,
        ),
        start_s=0.25,
        frame_rate_fps=12.5,
    )
    clip, found = Bucket(9, 64, 64), {}
    for asked in FRAMES:
        order = DecodeOrder(
            corpus=Folder.open(tmp_path),
            bucket=decoded_bucket(clip, asked),
            rows=(row,),
            settings=DecodeSettings(
                transform=EncodeOptions(input=asked).transform(takes_clips=True),
                limits=ImageLimits(),
                time_limit_s=30.0,
            ),
            frame_numbers=frame_numbers(clip, asked),
        )
        found[asked] = decode_rows(order).pixels_NTHWC[0]
        alone = decode_rows(replace(order, is_isolated=True)).pixels_NTHWC[0]
        np.testing.assert_array_equal(alone, found[asked])
    whole = found["pixels"]
    assert read_number(whole[0]) != read_number(whole[-1])
    np.testing.assert_array_equal(found["first_frame"], whole[:1])
    np.testing.assert_array_equal(found["last_frame"], whole[-1:])
    np.testing.assert_array_equal(found["first+last_frame+zeros"], whole[[0, -1]])


def test_zeros_lie_between_a_first_and_a_last_frame(tmp_path: Path) -> None:
    torch.manual_seed(0)
    diffusers.AutoencoderKLWan(**TINY_WAN).save_pretrained(tmp_path)
    text, options = f"wan:{tmp_path}", EncoderOptions(device="cpu", is_offline=True)
    frames = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 24, 3), dtype=np.uint8)
    pixels = torch.from_numpy(frames).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0
    # As diffusers' WanImageToVideoPipeline lays out a first and a last picture.
    condition = torch.cat(
        [pixels[:, :, :1], pixels.new_zeros(1, 3, 7, 16, 24), pixels[:, :, 1:]], 2
    )
    (expected,) = load_encoder(text, options).encode(condition, [SampleMeta(key="a")])
    encoder = BatchEncoder(
        lambda _: load_encoder(text, options),
        policy=lambda spec: EncodePolicy(
            fields=stored_fields(spec, "mode", "float32"), policy="mode", seed=0
        ),
        thread=encode_thread(1),
    )
    batch = EncodeBatch(pixels_BTHWC=frames, keys=("a",), num_zero_frames=7)
    found = encoder.submit(batch).result()
    encoder.close()
    torch.testing.assert_close(found.fields["mean"][0], expected["mean"])


@pytest.mark.parametrize(
    ("encoder", "asked", "sentence"),
    [
        ("dct", "text:caption", "encoder of text:caption must be text, got 'image' .* leaving out"),
        ("wan:nowhere", "text:caption", "encoder of text:caption must be text, got 'video'"),
    ],
)
def test_a_pairing_that_cannot_be_fed_is_refused_by_name(
    encoder: str, asked: str, sentence: str
) -> None:
    with pytest.raises(EncoderError, match=sentence):
        check_encoder(encoder, asked)
