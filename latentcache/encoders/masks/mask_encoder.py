"""``mask``: white is 255 and black 0 on the latent grid, as a loss or an inpainting model takes it.

Of a mask with grey levels or fine edges each cell keeps the share that is white; of labels, which
no average may mix, the value in its middle. Sums of 8-bit values are whole numbers, so that every
machine stores the same bytes.

Dimension letters: B batch, C channels, T frames, H height, W width.
"""

from collections.abc import Mapping, Sequence

import torch

from latentcache.core.config import config_from_mapping
from latentcache.encoders.dct_declared import FLOAT32_ONLY
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.masks.mask_declared import MaskConfig, mask_spec
from latentcache.encoders.shapes import check_batch
from latentcache.encoders.spec import SampleMeta


class MaskEncoder:
    """Brings masks to a latent grid; see the module."""

    def __init__(self, options: EncoderOptions | None = None) -> None:
        options = options or EncoderOptions()
        self._config = config_from_mapping(MaskConfig, options.knobs, where="mask")
        self.device = choose_device(options.device)
        choose_dtype(options.dtype, name="mask", default="float32", forbidden=FLOAT32_ONLY)
        self.spec = mask_spec(self._config)

    def encode(
        self, pixels: torch.Tensor, metas: Sequence[SampleMeta]
    ) -> list[dict[str, torch.Tensor]]:
        """Return ``z`` of every mask, uint8 CHW, of clips CTHW, with one channel."""
        check_batch(self.spec, pixels, metas)
        levels = (pixels * 255).round().mean(1, keepdim=True).round()
        is_video = self.spec.modality == "video"
        clips_BCTHW = levels if is_video else levels[:, :, None]
        pooled = torch.stack([self._pooled(clip) for clip in clips_BCTHW]).to(torch.uint8)
        return [{"z": row if is_video else row[:, 0]} for row in pooled]

    def _pooled(self, clip_CTHW: torch.Tensor) -> torch.Tensor:
        rule = self._config.rule
        first, rest = clip_CTHW[:, : rule.first], clip_CTHW[:, rule.first :]
        groups = [first, *torch.split(rest, rule.step, dim=1)] if rest.shape[1] else [first]
        return torch.stack([self._cell(group) for group in groups], dim=1)

    def _cell(self, group_CTHW: torch.Tensor) -> torch.Tensor:
        """Return one latent frame of a group of frames, CHW."""
        factor = self._config.factor
        if self._config.pool == "nearest":
            middle = factor // 2
            return group_CTHW[:, group_CTHW.shape[1] // 2, middle::factor, middle::factor]
        channels, frames, height, width = group_CTHW.shape
        cells = group_CTHW.reshape(
            channels, frames, height // factor, factor, width // factor, factor
        )
        return (cells.sum(dim=(1, 3, 5)) / (frames * factor**2)).round()

    def decode(self, fields: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return masks as grey pixels, BCHW or BCTHW: each cell a square of its value."""
        masks = fields["z"].to(self.device, torch.float32) / 255
        for axis in (-2, -1):
            masks = masks.repeat_interleave(self._config.factor, dim=axis)
        if self.spec.modality == "video":
            rule = self._config.rule
            counts = torch.full((masks.shape[2],), rule.step, device=masks.device)
            counts[0] = rule.first
            masks = masks.repeat_interleave(counts, dim=2)
        return masks.repeat_interleave(3, dim=1)

    def reset(self) -> None:
        """Do nothing: there is no state."""
