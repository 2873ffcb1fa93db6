"""A tokenizer of one's own: any encoder before a quantizer of vector-quantize-pytorch.

PYTHONPATH=docs/examples latentcache build PHOTOS STORE --encoder own_tokenizer:OwnTokenizer:WEIGHTS
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from vector_quantize_pytorch import FSQ

from latentcache.core.fingerprint import sha256_hex
from latentcache.encoders import EncoderOptions, TokenizerParts, choose_device, tokenizer_of
from latentcache.encoders.discrete.token_encoder import CodebookEncoder


class Model(nn.Module):
    """Yours: here one strided convolution each way, and five levels in three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Conv2d(3, 3, kernel_size=8, stride=8)
        self.quantizer = FSQ([5, 5, 5])
        self.decode = nn.ConvTranspose2d(3, 3, kernel_size=8, stride=8)

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """Return what training compares with its input."""
        return self.decode(self.quantizer(self.encode(pixels_BCHW))[0])


def OwnTokenizer(options: EncoderOptions) -> CodebookEncoder:  # noqa: N802  named as a class is
    """Return the tokenizer whose weights ``options`` locate."""
    weights = Path(options.location or "")
    model = Model()
    model.load_state_dict(load_file(weights))
    model.eval().requires_grad_(False).to(choose_device(options.device))
    parts = TokenizerParts(
        encode=model.encode,
        quantizer=model.quantizer,
        decode=model.decode,
        weights_digest=sha256_hex(weights.read_bytes()),
        name="own-tokenizer",
        impl="own_tokenizer.OwnTokenizer",
    )
    return tokenizer_of(parts, options)


if __name__ == "__main__":  # weights to try it with
    torch.manual_seed(0)
    save_file(Model().state_dict(), "own_tokenizer.safetensors")
