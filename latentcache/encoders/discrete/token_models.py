"""Tokenizers' models, each called as its own class wants it; no two of them are called alike.

Dimension letters: B batch, C channels, T frames, H height, W width, K entries of a codebook, D size
of one.
"""

from typing import Any, Protocol

import torch
from torch.nn import functional as F

from latentcache.encoders.spec import Codebook


class TokenModel(Protocol):
    """What an encoder of indices asks of a model."""

    codebook: Codebook

    def indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return int64 indices, BHW of pictures and BTHW of clips."""
        ...

    def table(self) -> torch.Tensor | None:
        """Return the vectors [K, D] that a decoder is given for each index; None without."""
        ...

    def decode(self, indices: torch.Tensor) -> torch.Tensor | None:
        """Return pixels on the scale that came in; None of a model that has no decoder."""
        ...


class VqModel:
    """``VQModel`` of diffusers, whose ``encode`` ends before the codebook.

    ``decode`` would quantise what it is given once more: its parts are called.
    """

    def __init__(self, module: Any) -> None:
        """Keep the model."""
        self._module = module
        self.codebook = Codebook(size=module.quantize.n_e)

    def indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return indices [B, H, W]."""
        hidden = self._module.encode(pixels).latents
        flat: torch.Tensor = self._module.quantize(hidden)[2][2]
        return flat.view(len(hidden), *hidden.shape[2:])

    def table(self) -> torch.Tensor:
        """Return the codebook."""
        weight: torch.Tensor = self._module.quantize.embedding.weight
        return weight

    def decode(self, indices: torch.Tensor) -> torch.Tensor:
        """Return pixels from -1 to 1."""
        module = self._module
        codes = self.table()[indices].permute(0, 3, 1, 2).contiguous()
        spatial = codes if module.config.norm_type == "spatial" else None
        pixels: torch.Tensor = module.decoder(module.post_quant_conv(codes), spatial)
        return pixels


class VidTokFsq:
    """``AutoencoderVidTok`` with finite scalar quantisation: codes follow from the index alone."""

    def __init__(self, module: Any) -> None:
        """Keep the model."""
        self._module = module
        levels = tuple(int(each) for each in module.regularization._levels)
        self.codebook = Codebook(size=module.regularization.codebook_size, levels=levels)

    def indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return indices [B, T, H, W], of clips padded as in training (see ``families.vidtok``)."""
        copies = self._module.temporal_compression_ratio - 1
        padded = torch.cat([pixels[:, :, :1].repeat(1, 1, copies, 1, 1), pixels], dim=2)
        found: torch.Tensor = self._module.encode(padded)[1]
        return found.long()

    def table(self) -> torch.Tensor:
        """Return the code of each index, [K, D]."""
        codes: torch.Tensor = self._module.regularization.implicit_codebook
        return codes.view(self.codebook.size, -1)

    def decode(self, indices: torch.Tensor) -> torch.Tensor:
        """Return pixels from -1 to 1."""
        codes = self.table()[indices].permute(0, 4, 1, 2, 3).contiguous()
        pixels: torch.Tensor = self._module.decode(codes)
        return pixels


class FlavaCodebook:
    """``FlavaImageCodebook``, DALL-E's encoder: pixels from 0 to 1, drawn in by a tenth."""

    _EPS = 0.1
    """``LOGIT_LAPLACE_EPS`` of FLAVA's image processor: the model itself does not apply it."""

    def __init__(self, module: Any) -> None:
        """Keep the model."""
        self._module = module
        self.codebook = Codebook(size=module.vocab_size)

    def indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return indices [B, H, W]."""
        found: torch.Tensor = self._module.get_codebook_indices(
            (1 - 2 * self._EPS) * pixels + self._EPS
        )
        return found

    def table(self) -> None:
        """Return None: the vectors are the decoder's, which FLAVA does not have."""

    def decode(self, indices: torch.Tensor) -> None:
        """Return None: there is no decoder."""


class FlatVq:
    """``ChameleonVQVAE`` and ``JanusVQVAE``, which give indices flat over rows and pictures."""

    def __init__(self, module: Any) -> None:
        """Keep the model."""
        self._module = module
        self.codebook = Codebook(size=module.quantize.num_embeddings)

    def indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return indices [B, H, W]."""
        output = self._module.encode(pixels, return_dict=True)
        grid = output.last_hidden_state.shape[2:]
        found: torch.Tensor = output.image_tokens
        return found.view(len(pixels), *grid)

    def table(self) -> torch.Tensor:
        """Return the codebook; Janus' decoder is given it normalized, its quantiser is not."""
        weight: torch.Tensor = self._module.quantize.embedding.weight
        has_decoder = hasattr(self._module, "decoder")
        return F.normalize(weight, p=2, dim=-1) if has_decoder else weight

    def decode(self, indices: torch.Tensor) -> torch.Tensor | None:
        """Return pixels; the class's own ``decode`` takes one size only."""
        if not hasattr(self._module, "decoder"):
            return None
        codes = self.table()[indices].permute(0, 3, 1, 2).contiguous()
        pixels: torch.Tensor = self._module.decoder(self._module.post_quant_conv(codes))
        return pixels


class Emu3Vq:
    """``Emu3VQVAE``: pictures are repeated four times in time by the class; clips come BTCHW."""

    def __init__(self, module: Any) -> None:
        """Keep the model."""
        self._module = module
        self.codebook = Codebook(size=module.config.codebook_size)

    def indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return indices [B, H, W] or [B, T, H, W]."""
        size = list(pixels.shape[-2:])
        given = pixels if pixels.ndim == 4 else pixels.transpose(1, 2)
        sizes = torch.tensor([size] * len(pixels))
        # The class cuts each row along the two axes after the batch, time and height of a clip:
        # a size that does not cut is given.
        if pixels.ndim == 5:
            sizes = sizes.fill_(max(pixels.shape) * self._module.vision_spatial_factor)
        tokens: list[torch.Tensor] = self._module.encode(given, image_sizes=sizes).image_tokens
        return torch.stack(tokens)

    def table(self) -> torch.Tensor:
        """Return the codebook."""
        weight: torch.Tensor = self._module.quantize.embedding.weight
        return weight

    def decode(self, indices: torch.Tensor) -> torch.Tensor:
        """Return pixels, BCHW or BCTHW."""
        pixels: torch.Tensor = self._module.decode(indices)
        return pixels if indices.ndim == 3 else pixels.transpose(1, 2)


class GlmImageVq:
    """GLM-Image's tokens: patches through its vision tower, then ``GlmImageVQVAE``."""

    def __init__(self, module: Any) -> None:
        """Keep ``visual`` and ``vqmodel``."""
        self._visual, self._vq = module["visual"], module["vqmodel"]
        self.codebook = Codebook(size=self._vq.quantize.num_embeddings)

    def indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return indices [B, H, W]."""
        edge = int(self._visual.patch_size)
        grid = (pixels.shape[2] // edge, pixels.shape[3] // edge)
        shapes = torch.tensor([[1, *grid]] * len(pixels), device=pixels.device)
        patches = F.unfold(pixels, edge, stride=edge).transpose(1, 2).flatten(0, 1)
        states = self._visual(patches, grid_thw=shapes, return_dict=True).pooler_output
        hidden = states.view(len(pixels), *grid, -1).permute(0, 3, 1, 2).contiguous()
        found: torch.Tensor = self._vq.encode(hidden, return_dict=True).image_tokens
        return found.view(len(pixels), *grid)

    def table(self) -> torch.Tensor:
        """Return the codebook as the quantiser compares with it, normalized."""
        return F.normalize(self._vq.quantize.embedding.weight, p=2, dim=-1)

    def decode(self, indices: torch.Tensor) -> None:
        """Return None: pixels come from a diffusion model that is given the indices."""


MODELS: dict[str, Any] = {
    "VQModel": VqModel,
    "AutoencoderVidTok": VidTokFsq,
    "FlavaImageCodebook": FlavaCodebook,
    "ChameleonVQVAE": FlatVq,
    "JanusVQVAE": FlatVq,
    "Emu3VQVAE": Emu3Vq,
    "GlmImageVQVAE": GlmImageVq,
}
"""By the class that is loaded."""
