"""``AutoencoderKLAllegro``: tiles of 24 frames and 320 px that overlap, and no other way.

The class encodes by tiles or not at all, and gives zeros, without a word, to what its tiles do not
cover: frames must be 24 + 16k, heights 320 + 200k, widths 320 + 240k. Of the released weights
720 x 1280 px are taken, which its DiT makes. A batch of more than one fails inside. Source:
diffusers, ``autoencoder_kl_allegro.py``.
"""

from typing import Any

import torch

from latentcache.encoders.autoencoder import DiffusersKnobs, Family, decode_whole
from latentcache.encoders.published_normalizer import config_scale
from latentcache.encoders.spec import PLAIN_SCALAR

_RELEASED_TILE_PX = 320
_RELEASED_PX = (720, 1280)


def covered_size(module: Any) -> tuple[int, int]:
    """Return the height and width that its tiles cover, px: of other weights than released one."""
    tile_px = int(module.config.sample_size)
    return _RELEASED_PX if tile_px == _RELEASED_TILE_PX else (tile_px, tile_px)


def with_tiles(module: Any, _knobs: DiffusersKnobs) -> dict[str, PLAIN_SCALAR]:
    """Switch tiles on, as the class must have them, and say so."""
    module.use_tiling = True
    return {"tiling": True, "tile_px": int(module.config.sample_size)}


def decode_each(module: Any, latents: torch.Tensor) -> torch.Tensor:
    """Return pixels of a batch, clip by clip; the class gives BTCHW."""
    return torch.cat([decode_whole(module, row) for row in torch.split(latents, 1)]).transpose(1, 2)


FAMILY = Family(
    read_normalizer=config_scale,
    decode=decode_each,
    set_knobs=with_tiles,
    only_size=covered_size,
)
