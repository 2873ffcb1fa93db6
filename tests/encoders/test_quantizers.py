"""Quantizers of vector-quantize-pytorch behind one's own model; run where that is installed."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from latentcache.core.errors import EncoderError
from latentcache.encoders import (
    Encoder,
    EncoderOptions,
    SampleMeta,
    TokenizerParts,
    load_encoder,
    tokenizer_of,
)
from latentcache.encoders.discrete.token_encoder import CodebookEncoder
from latentcache.testing.contract import EncoderContract

vq = pytest.importorskip("vector_quantize_pytorch")

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
OPTIONS = EncoderOptions(device="cpu", is_offline=True)
MAKE: dict[str, Callable[[], Any]] = {
    "fsq": lambda: vq.FSQ([5, 5, 5]),
    "fsq-projected": lambda: vq.FSQ([8, 5, 5], dim=6),
    "lfq": lambda: vq.LFQ(dim=6, codebook_size=64),
    "vq-grid": lambda: vq.VectorQuantize(dim=6, codebook_size=300, accept_image_fmap=True),
    "vq-list": lambda: vq.VectorQuantize(dim=6, codebook_size=90, codebook_dim=3),
    "vq-cosine": lambda: vq.VectorQuantize(dim=6, codebook_size=90, use_cosine_sim=True),
}
SIZES = {
    "fsq": (125, "uint8"), "fsq-projected": (200, "uint8"), "lfq": (64, "uint8"),
    "vq-grid": (300, "uint16"), "vq-list": (90, "uint8"), "vq-cosine": (90, "uint8"),
}  # fmt: skip


def parts_of(name: str, seed: int = 0) -> TokenizerParts:
    torch.manual_seed(seed)
    quantizer = MAKE[name]().eval().requires_grad_(False)
    width = 3 if name == "fsq" else 6
    encode = nn.Conv2d(3, width, kernel_size=8, stride=8).requires_grad_(False)
    nn.init.normal_(encode.weight, std=0.3)
    decode = nn.ConvTranspose2d(width, 3, kernel_size=8, stride=8).requires_grad_(False)
    return TokenizerParts(
        encode=encode,
        quantizer=quantizer,
        decode=decode,
        weights_digest=f"{name}-{seed}",
        name=name,
        impl="tests.quantizers",
    )


def grid_of(parts: TokenizerParts, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices [B, H, W] and vectors [B, D, H, W] by the quantizer's own call."""
    hidden = parts.encode(pixels)
    takes_list = "list" in parts.name or "cosine" in parts.name
    given = hidden.flatten(2).transpose(1, 2) if takes_list else hidden
    vectors, indices = parts.quantizer(given)[:2]
    if takes_list:
        vectors = vectors.transpose(1, 2).view(len(hidden), -1, *hidden.shape[2:])
    return indices.reshape(len(hidden), *hidden.shape[2:]).long(), vectors


class QuantizerContract(EncoderContract):
    name = ""

    def make_encoder(self) -> Encoder:
        return tokenizer_of(parts_of(self.name), OPTIONS)

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {"weights": lambda: tokenizer_of(parts_of(self.name, 1), OPTIONS)}


class TestFsqContract(QuantizerContract):
    name = "fsq"


class TestLfqContract(QuantizerContract):
    name = "lfq"


class TestVectorQuantizeContract(QuantizerContract):
    name = "vq-grid"


@pytest.mark.parametrize("name", list(MAKE))
def test_indices_and_vectors_are_those_of_the_quantizer_itself(name: str) -> None:
    parts = parts_of(name)
    encoder = tokenizer_of(parts, OPTIONS)
    pixels = torch.rand((2, 3, 32, 48), generator=torch.Generator().manual_seed(1)) * 2 - 1
    rows = encoder.encode(pixels, [SampleMeta(key="")] * 2)
    indices = torch.stack([row["indices"] for row in rows])
    expected, vectors = grid_of(parts, pixels)
    assert torch.equal(indices, expected)
    assert len(indices.unique()) > 3  # a codebook in use, or the test tests nothing
    codes = encoder.codes_from_indices(indices)
    torch.testing.assert_close(codes.movedim(-1, 1), vectors)
    assert torch.equal(encoder.indices_from_codes(codes), indices)
    assert encoder.decode({"indices": indices}).shape == pixels.shape
    assert encoder.spec.codebook is not None
    assert (encoder.spec.codebook.size, encoder.spec.fields[0].dtype) == SIZES[name]
    assert encoder.spec.spatial_factor == (8, 8)
    assert len(encoder.spec.codebook.digest) == 64


def test_a_codebook_that_the_first_batch_would_make_is_refused() -> None:
    for made, sentence in {
        vq.VectorQuantize(dim=6, codebook_size=9, kmeans_init=True).eval(): "must be initialized",
        vq.VectorQuantize(dim=6, codebook_size=9): "must be in eval, got one in training",
        vq.FSQ([3, 3], num_codebooks=2, dim=6).eval(): "must have one codebook, got 2",
        vq.ResidualFSQ(levels=[3, 3], num_quantizers=2, dim=6).eval(): "one of FSQ, LFQ, Vector",
    }.items():
        parts = TokenizerParts(
            encode=nn.Identity(), quantizer=made, weights_digest="", name="own", impl="own"
        )
        with pytest.raises(EncoderError, match=sentence):
            tokenizer_of(parts, OPTIONS)


def test_the_example_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from own_tokenizer import Model  # type: ignore[import-not-found]  # noqa: PLC0415

    save_file(Model().state_dict(), tmp_path / "own.safetensors")
    encoder = load_encoder(f"own_tokenizer:OwnTokenizer:{tmp_path / 'own.safetensors'}", OPTIONS)
    assert isinstance(encoder, CodebookEncoder)
    assert encoder.spec.codebook is not None
    assert encoder.spec.codebook.levels == (5, 5, 5)
