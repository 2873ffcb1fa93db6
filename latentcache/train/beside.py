"""What a batch has beside latents and condition: given frames, references, where the loss counts.

Dimension letters: B batch, C channels, T latent frames, H height, W width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader, Normalizer
from latentcache.train.conditioning_latents import (
    ConditioningLatents,
    find_conditioning_latents,
)
from latentcache.train.flow import Condition
from latentcache.train.reference_tokens import References, reference_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What one batch has.

    Attributes:
        conditioning_latents: [B, channels, ...] of the size of the latents, or None.
        references: Tokens, or None.
        weights: Of each cell's loss, from 0 to 1, [B, 1, ...] of the size of the latents, or None.
    """

    conditioning_latents: Tensor | None = None
    references: References | None = None
    weights: Tensor | None = None

    def around(self, model: Callable[..., Tensor]) -> "Callable[..., Tensor]":
        """Return a model that is given this at each call, once for each of its batches."""
        if self.conditioning_latents is None and self.references is None:
            return model

        def call(latents: Tensor, times: Tensor, condition: Condition | None) -> Tensor:
            given, told = self.conditioning_latents, self.references
            if given is not None:
                given = torch.cat([given] * (len(latents) // len(given)))
            if told is None:
                return model(latents, times, condition, given)
            told = told.repeated(len(latents) // len(told.mask))
            return model(latents, times, condition, given, told)

        return call

    def of_samples(self, num_samples: int) -> "Beside":
        """Return what so many samples are given: that of the batch's, again from the first on."""
        given, told = self.conditioning_latents, self.references
        if given is not None:
            given = given[torch.arange(num_samples) % len(given)]
        if told is not None:
            told = told.chosen(torch.arange(num_samples) % len(told.mask))
        return Beside(conditioning_latents=given, references=told)


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideColumns:
    """Which columns that comes from.

    Attributes:
        conditioning_latents: See there; None for none.
        references: Columns of latents of references, in order.
        loss_mask: Column of masks; "" for none.
        patch: Latent cells of a token of the model.
        channels: Of the model's latents.
        normalizer: Of the latents; one encoder made the references.
        normalized: Columns that the loader has normalized already.
    """

    conditioning_latents: ConditioningLatents | None
    references: tuple[str, ...]
    loss_mask: str
    patch: tuple[int, int, int]
    channels: int
    normalizer: Normalizer
    normalized: frozenset[str]

    def read(self, batch: Mapping[str, Any], latents: Tensor) -> Beside:
        """Return what a batch has, on the device of its latents.

        Raises:
            ConfigError: A column is not in the batch, or does not fit the latents.
        """
        given = self.conditioning_latents
        return Beside(
            conditioning_latents=None if given is None else given.read(batch, latents),
            references=self._references(batch, latents) if self.references else None,
            weights=self._weights(batch, latents) if self.loss_mask else None,
        )

    def _references(self, batch: Mapping[str, Any], latents: Tensor) -> References:
        columns = [self._reference(name, batch, latents.device) for name in self.references]
        return reference_tokens(list(zip(*columns, strict=True)), self.patch, self.channels)

    def _reference(self, name: str, batch: Mapping[str, Any], device: torch.device) -> list[Tensor]:
        """Return one column's references, each normalized; without an element where one is none."""
        values = [each.to(device) for each in _column(batch, name, "references")]
        present = batch.get(f"{name}.present")
        is_there = [True] * len(values) if present is None else present.tolist()
        pairs = zip(values, is_there, strict=True)
        return [self._normal(each, name) if there else each[:0] for each, there in pairs]

    def _normal(self, reference: Tensor, name: str) -> Tensor:
        if reference.shape[0] != self.channels:
            raise ConfigError(
                f"references must have the {self.channels} channels of the latents, got "
                f"{tuple(reference.shape)} ({name}); encode them with the encoder of the latents"
            )
        if name in self.normalized:
            return reference
        return self.normalizer.apply(reference[None])[0]

    def _weights(self, batch: Mapping[str, Any], latents: Tensor) -> Tensor:
        masks = _column(batch, self.loss_mask, "loss_mask")
        size = (len(latents), 1, *latents.shape[2:])
        if not isinstance(masks, Tensor) or masks.shape != size:
            got = tuple(masks.shape) if isinstance(masks, Tensor) else "a list of several sizes"
            raise ConfigError(
                f"{self.loss_mask} must be masks on the grid of the latents, {size}, got {got}; "
                "encode them with --encoder mask:latents"
            )
        weights = masks.to(latents.device, torch.float32) / 255
        present = batch.get(f"{self.loss_mask}.present")
        if present is not None:  # where there is no mask, all counts
            weights[~present.to(weights.device)] = 1.0
        return weights


def find_beside(
    model: Any,
    loader: LatentLoader,
    *,
    latents: str,
    condition_latents: str | None,
    references: Sequence[str],
    loss_mask: str | None,
) -> BesideColumns:
    """Return which columns a model is given beside latents and condition.

    Args:
        model: That is trained.
        loader: That reads them.
        latents: Column that is trained on.
        condition_latents: See ``find_conditioning_latents``.
        references: Columns of latents, in order.
        loss_mask: Column of masks, or None.

    Raises:
        ConfigError: Model and columns do not fit.
    """
    shapes = next(iter(loader.shapes().values()))
    if references and not getattr(model, "takes_references", False):
        raise ConfigError(
            f"references must be given to a model that takes them, got {', '.join(references)} for "
            f"{type(model).__name__}; build a DiT with takes_references = true"
        )
    given = find_conditioning_latents(model, condition_latents, shapes, loader.normalizer)
    config = getattr(model, "dit_config", None)
    return BesideColumns(
        conditioning_latents=given,
        references=tuple(references),
        loss_mask=loss_mask or "",
        patch=config.patch if config is not None else (1, 1, 1),
        channels=shapes[latents][1],
        normalizer=loader.normalizer,
        normalized=frozenset(loader.normalizers) - {latents},
    )


def _column(batch: Mapping[str, Any], name: str, what: str) -> Any:
    if name not in batch:
        raise ConfigError(
            f"{what} must be a column that the loader reads, got {name!r} among "
            f"{', '.join(batch)}; add it to the loader's columns"
        )
    return batch[name]
