"""A stored sample as the one tensor that other trainers keep of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.loader import Normalizer
from latentcache.loader.transform import (
    noise_seeds,
    primary_field,
    resolve_normalizer,
    sample_posterior,
)
from latentcache.store import ColumnView, TensorBytes
from latentcache.store.format import as_tensor_bytes

Space = Literal["raw", "scaled"]
"""As the encoder gave it; or as a DiT takes it, by the published figures."""
Draw = Literal["mode", "sample"]
"""The posterior's mean; or one draw, keyed by the sample."""


@dataclass(frozen=True, slots=True)
class LatentMaker:
    """Makes one tensor of a sample's stored fields.

    Attributes:
        field: That is taken.
        draw: What of the posterior.
        normalizer: What is done then; without operations for the raw space.
        dtype: Of the result.
        seed: Of draws.
    """

    field: Field
    draw: Draw
    normalizer: Normalizer
    dtype: torch.dtype
    seed: int = 0

    @classmethod
    def of(
        cls, view: ColumnView, *, space: Space, draw: Draw, dtype: str = "auto"
    ) -> "LatentMaker":
        """Return the maker of a column.

        Args:
            view: The column; of latents.
            space: What the reader expects.
            draw: Likewise.
            dtype: torch's name; ``auto`` keeps that of storage.

        Raises:
            ConfigError: The column has no floats, or no log-variance to draw with.
        """
        field = primary_field(view)
        if "float" not in field.dtype:
            raise ConfigError(
                f"column must hold latents, got {view.name} of {field.dtype}; name another column"
            )
        names = {each.name for each in view.record.fields}
        if draw == "sample" and field.kind == "mean" and "logvar" not in names:
            raise ConfigError(
                f"column {view.name} must keep its log-variance to be drawn from, got its mean "
                "alone; export the mode"
            )
        mode: Literal["none", "published"] = "none" if space == "raw" else "published"
        if mode == "published" and view.record.normalizer is None:
            raise ConfigError(
                f"column {view.name} must come with its encoder's published figures to be scaled "
                f"as trainers do, got none ({view.record.spec.get('source')}); measured ones "
                "are of this corpus alone: export webdataset or mds, as it is stored"
            )
        normalizer = resolve_normalizer([view], mode, is_sampled=draw == "sample")
        name = field.dtype if dtype == "auto" else dtype
        return cls(field, draw, normalizer, getattr(torch, name))

    def make(self, key: str, fields: Mapping[str, Any]) -> torch.Tensor:
        """Return the tensor of one sample, contiguous and its own."""
        stored = {name: float32_tensor(value) for name, value in fields.items()}
        values = stored[self.field.name]
        if self.draw == "sample" and self.field.kind == "mean":
            seeds = noise_seeds([key], np.zeros(1, np.int64), seed=self.seed)
            values = sample_posterior(values[None], stored["logvar"][None], seeds)[0]
        made = self.normalizer.apply(values[None])[0]
        return made.to(self.dtype).contiguous().clone()


def float32_tensor(value: "np.ndarray[Any, Any] | TensorBytes") -> torch.Tensor:
    """Return a stored field in float32, whatever its dtype."""
    raw = value if isinstance(value, TensorBytes) else as_tensor_bytes({"": value})[""]
    return torch.from_numpy(np.array(raw.to_numpy_float32()))


def with_frames(latent: torch.Tensor, *, wanted: int, where: str) -> torch.Tensor:
    """Return a latent with (C, T, H, W) or (C, H, W) dimensions, as ``wanted`` says.

    Raises:
        ConfigError: A clip would have to become a picture.
    """
    if latent.ndim == wanted:
        return latent
    if latent.ndim == 3 and wanted == 4:
        return latent[:, None].contiguous()
    if latent.ndim == 4 and wanted == 3 and latent.shape[1] == 1:
        return latent[:, 0].contiguous()
    raise ConfigError(
        f"latents must have {wanted} dimensions for {where}, got {tuple(latent.shape)}; export "
        "pictures, or another column"
    )
