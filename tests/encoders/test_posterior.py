"""What is stored follows the policy; noise follows (seed, key) and nothing else."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.encoders import apply_policy, list_encoders, stored_fields
from latentcache.encoders.declared import posterior_fields
from latentcache.encoders.posterior import Piece, posterior_noise
from latentcache.encoders.spec import EncoderSpec

SPECS = {facts.name: facts.spec for facts in list_encoders()}


def raw_batch(num_rows: int, *, channels: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(num_rows, channels, 2, 3, generator=generator)
    return {"mean": mean, "logvar": torch.randn(mean.shape, generator=generator)}


def store(
    spec: EncoderSpec, raw: dict[str, torch.Tensor], policy: str, keys: list[str], seed: int = 5
) -> dict[str, torch.Tensor]:
    fields = stored_fields(spec, policy, "float32")
    return apply_policy(raw, fields, policy=policy, seed=seed, keys=keys)


@pytest.mark.parametrize(
    ("policy", "names"),
    [("moments", ["mean", "logvar"]), ("mode", ["mean"]), ("sample", ["sample"])],
)
def test_policy_decides_which_fields_of_a_gaussian_are_stored(
    policy: str, names: list[str]
) -> None:
    fields = stored_fields(SPECS["sdxl"], policy)
    assert [field.name for field in fields] == names
    stored = apply_policy(raw_batch(2), fields, policy=policy, seed=0, keys=["a", "b"])
    assert list(stored) == names
    assert {values.dtype for values in stored.values()} == {torch.float16}


@pytest.mark.parametrize("policy", ["moments", "mode", "sample"])
def test_policy_does_nothing_to_a_point(policy: str) -> None:
    assert stored_fields(SPECS["dct"], policy) == SPECS["dct"].fields


def test_moments_and_mode_keep_the_values() -> None:
    raw = raw_batch(2)
    assert torch.equal(store(SPECS["sd"], raw, "moments", ["a", "b"])["logvar"], raw["logvar"])
    assert torch.equal(store(SPECS["sd"], raw, "mode", ["a", "b"])["mean"], raw["mean"])


def test_sample_is_mean_plus_deviation_times_the_keyed_noise() -> None:
    raw = raw_batch(1)
    drawn = store(SPECS["sd"], raw, "sample", ["k"])["sample"][0]
    noise = torch.from_numpy(posterior_noise((4, 2, 3), seed=5, key="k"))
    assert torch.equal(drawn, raw["mean"][0] + torch.exp(0.5 * raw["logvar"][0]) * noise)


def test_draw_does_not_depend_on_the_place_in_the_batch() -> None:
    raw = raw_batch(3)
    together = store(SPECS["sd"], raw, "sample", ["a", "b", "c"])["sample"]
    last = {name: values[2:] for name, values in raw.items()}
    assert torch.equal(store(SPECS["sd"], last, "sample", ["c"])["sample"][0], together[2])


@given(key=st.text(max_size=20), seed=st.integers(-(2**63), 2**63))
def test_noise_depends_on_seed_and_key(key: str, seed: int) -> None:
    noise = posterior_noise((5,), seed=seed, key=key)
    assert noise.dtype == np.float32
    assert np.array_equal(noise, posterior_noise((5,), seed=seed, key=key))
    assert not np.array_equal(noise, posterior_noise((5,), seed=seed + 1, key=key))
    assert not np.array_equal(noise, posterior_noise((5,), seed=seed, key=key + "x"))


@given(st.data())
def test_a_piece_of_a_clip_is_drawn_as_the_whole_clip_is(data: st.DataObject) -> None:
    channels, total, height, width = data.draw(st.tuples(*[st.integers(1, 7)] * 4))
    raw = {name: torch.randn(2, channels, total, height, width) for name in ("mean", "logvar")}
    fields = posterior_fields("gaussian", "CTHW", channels)
    stored = [replace(fields[0], name="sample", kind="sample", dtype="float32")]
    draw = partial(apply_policy, fields=stored, policy="sample", seed=3, keys=["a", "b"])
    cuts = sorted(data.draw(st.sets(st.integers(1, total), max_size=3)) | {total})
    pieces = []
    for start, stop in pairwise([0, *cuts]):
        piece = {name: values[:, :, start:stop] for name, values in raw.items()}
        pieces.append(draw(piece, piece=Piece(start, total))["sample"])
    assert torch.equal(torch.cat(pieces, dim=2), draw(raw)["sample"])


def test_noise_is_standard_normal() -> None:
    noise = posterior_noise((200_001,), seed=0, key="k").astype(np.float64)
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 1) < 0.01
    assert abs((noise**4).mean() - 3) < 0.1
    assert abs(np.corrcoef(noise[:100_000], noise[100_001:])[0, 1]) < 0.01


def test_noise_never_changes() -> None:
    """These numbers are part of the format: stores drawn with them must grow unchanged."""
    noise = posterior_noise((3,), seed=1, key="0123456789abcdef0123")
    expected = np.array([-0.15316014, -0.29440752, 1.1892779], dtype=np.float32)
    np.testing.assert_allclose(noise, expected, rtol=1e-6)


def test_shared_log_variance_is_stored_once() -> None:
    mean = torch.randn(2, 128, 2, 3, 4)
    logvar = torch.randn(2, 1, 2, 3, 4)
    raw = {"mean": mean, "logvar": logvar.expand_as(mean)}
    stored = store(SPECS["ltx"], raw, "moments", ["a", "b"])
    assert torch.equal(stored["logvar"], logvar)


def test_integer_fields_keep_their_dtype() -> None:
    fields = stored_fields(SPECS["sd"], "moments", "bfloat16")
    assert {field.dtype for field in fields} == {"bfloat16"}
    assert posterior_fields("point", "CHW", 4)[0].dtype == "float16"


@pytest.mark.parametrize(
    ("policy", "dtype", "sentence"),
    [
        ("mean", None, "posterior must be one of moments, mode, sample, got 'mean'"),
        ("mode", "int8", "storage dtype must be one of"),
        ("mode", "double", "use float16"),
    ],
)
def test_wrong_choice_is_refused(policy: str, dtype: str | None, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        stored_fields(SPECS["sd"], policy, dtype)
