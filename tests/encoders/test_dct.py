"""The block DCT is orthonormal, so everything about it is known in closed form."""

from collections.abc import Callable, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError, EncoderError
from latentcache.encoders import EncoderOptions, SampleMeta, load_encoder, stack_fields
from latentcache.encoders.dct import DctEncoder, dct_basis, dct_matrix, zigzag
from latentcache.encoders.spec import Encoder
from latentcache.testing.contract import EncoderContract

CPU = EncoderOptions(device="cpu")


def photo_like(num_rows: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand(num_rows, 3, 5, 5, generator=generator) * 2 - 1
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return (smooth + 0.05 * torch.randn(smooth.shape, generator=generator)).clamp(-1, 1)


def encode(encoder: Encoder, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
    return stack_fields(encoder.encode(pixels, [SampleMeta(key="")] * len(pixels)))


@given(size=st.integers(1, 24))
def test_dct_matrix_is_orthonormal(size: int) -> None:
    matrix = dct_matrix(size)
    assert torch.allclose(matrix @ matrix.T, torch.eye(size, dtype=torch.float64), atol=1e-12)


def test_zigzag_is_that_of_jpeg() -> None:
    assert zigzag(8)[:10] == [
        *[(0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0)]
    ]
    assert zigzag(8)[-1] == (7, 7)
    assert sorted(zigzag(5)) == [(u, v) for u in range(5) for v in range(5)]


def test_basis_is_orthonormal() -> None:
    basis = dct_basis(4, (9, 5, 2)).flatten(1).double()
    assert torch.allclose(basis @ basis.T, torch.eye(16, dtype=torch.float64), atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(block=st.sampled_from([2, 4, 8]), height=st.integers(1, 3), width=st.integers(1, 3))
def test_keeping_every_coefficient_gives_the_pixels_back(
    block: int, height: int, width: int
) -> None:
    encoder = DctEncoder(EncoderOptions(device="cpu", knobs={"block": block, "keep": block**2}))
    pixels = photo_like(2, height * block, width * block)
    assert torch.allclose(encoder.decode(encode(encoder, pixels)), pixels, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(luma=st.integers(1, 16), chroma=st.integers(1, 16))
def test_error_is_the_energy_of_what_was_left_out(luma: int, chroma: int) -> None:
    knobs = {"block": 4, "keep_luma": luma, "keep_chroma": chroma}
    encoder = DctEncoder(EncoderOptions(device="cpu", knobs=knobs))
    pixels = photo_like(1, 16, 24)
    fields = encode(encoder, pixels)
    error = (encoder.decode(fields) - pixels).double().square().sum()
    left_out = pixels.double().square().sum() - fields["z"].double().square().sum()
    assert torch.allclose(error, left_out, atol=1e-3)


def test_grey_level_is_the_first_channel_alone() -> None:
    pixels = torch.full((1, 3, 16, 16), 0.5)
    z = encode(DctEncoder(CPU), pixels)["z"][0]
    assert torch.allclose(z[0], torch.full((2, 2), 0.5 * 8 * 3**0.5), atol=1e-5)
    assert z[1:].abs().max() < 1e-5


def test_default_is_sixteen_channels_at_an_eighth() -> None:
    encoder = DctEncoder(CPU)
    assert encode(encoder, torch.zeros(1, 3, 64, 96))["z"].shape == (1, 16, 8, 12)
    assert encoder.spec.fields[0].channels == 16


def test_reconstruction_of_smooth_pictures_is_recognisable() -> None:
    pixels = photo_like(4, 128, 128)
    encoder = DctEncoder(CPU)
    error = (encoder.decode(encode(encoder, pixels)) - pixels).square().mean()
    assert 10 * torch.log10(4 / error) > 28


@settings(deadline=None, max_examples=25)
@given(num_rows=st.integers(1, 9), row=st.integers(0, 8), seed=st.integers(0, 100))
def test_bits_of_a_row_depend_on_that_row_alone(num_rows: int, row: int, seed: int) -> None:
    encoder, row = DctEncoder(CPU), row % num_rows
    pixels = torch.rand(num_rows, 3, 32, 40, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    alone = encode(encoder, pixels[row : row + 1])["z"][0]
    assert torch.equal(encode(encoder, pixels)["z"][row], alone)


def test_outer_autocast_does_not_reach_the_values() -> None:
    encoder, pixels = DctEncoder(CPU), photo_like(1, 32, 32)
    expected = encode(encoder, pixels)["z"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encode(encoder, pixels)["z"], expected)


@pytest.mark.parametrize(
    ("knobs", "sentence"),
    [
        ("block=1", "block must be 2 to 64 px, got 1"),
        ("keep_luma=65", "keep_luma must be 1 to 64"),
        ("keep_chroma=0", "keep_chroma must be 1 to 64"),
        ("keep=-1", "keep must be 1 to 64"),
        ("blocks=4", "did you mean 'block'"),
        ("block=4.5", "value must be a whole number"),
        ("block", "knobs must be key=value"),
    ],
)
def test_wrong_knob_is_refused_in_a_sentence(knobs: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_encoder(f"dct:{knobs}", CPU)


def test_half_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="use float32"):
        DctEncoder(EncoderOptions(device="cpu", dtype="float16"))


def test_misfit_is_refused_before_any_work() -> None:
    with pytest.raises(EncoderError, match="is not a multiple of 8x8 px"):
        encode(DctEncoder(CPU), torch.zeros(1, 3, 30, 32))


class TestDctContract(EncoderContract):
    def make_encoder(self) -> Encoder:
        return load_encoder("dct", CPU)

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        texts = ("dct:block=4", "dct:keep=6", "dct:keep_luma=9", "dct:keep_chroma=2")
        return {text: lambda text=text: load_encoder(text, CPU) for text in texts}


class TestDctOfOddBlocksContract(EncoderContract):
    def make_encoder(self) -> Encoder:
        return load_encoder("dct:block=5,keep=25", CPU)
