"""A training run, written down: TOML tables with every key checked, and what is built of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from latentcache.core.config import config_from_mapping
from latentcache.core.errors import ConfigError
from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.loader.select import as_sources
from latentcache.train.checkpoint import read_loader_state
from latentcache.train.dit import DiT, DiTConfig
from latentcache.train.objectives.masked_tokens import MaskedTransformer
from latentcache.train.recipe_condition import in_recipe_words, told_by
from latentcache.train.train_options import TrainOptions
from latentcache.train.trainer import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """What a batch is; see ``LatentLoader``.

    Attributes:
        global_batch_size: Samples of a step over all ranks, or a table by bucket.
        tokens_per_rank: Instead: tokens of one micro-batch of one rank.
        micro_batches: Batches per rank and step.
        seed: Of the order, of all draws and of the first weights.
    """

    global_batch_size: int | Mapping[str, int] | None = None
    tokens_per_rank: int | None = None
    micro_batches: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What a run leaves in its folder, and how often.

    Attributes:
        save_every: Steps between checkpoints; the last step is always kept.
        keep: Checkpoints that stay, the newest.
        sample_every: Steps between pictures of samples; 0 draws none.
        num_samples: In a picture.
        sample_steps: Of Euler's method.
        guidance: Classifier-free.
        log_samples: Write the loss of every sample by its key.
    """

    save_every: int = 1000
    keep: int = 2
    sample_every: int = 0
    num_samples: int = 16
    sample_steps: int = 30
    guidance: float = 2.0
    log_samples: bool = False

    def __post_init__(self) -> None:
        for name in ("save_every", "keep", "num_samples", "sample_steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.sample_every < 0:
            raise ConfigError(f"sample_every must be 0 or more, got {self.sample_every}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterOptions:
    """How Ray Train runs it.

    Attributes:
        address: ``local`` starts Ray by itself; ``auto`` or ``host:port`` joins a cluster.
        num_workers: Ranks.
        use_gpu: One each.
        cpus_per_worker: Cores each; also its torch threads where there is no GPU.
        max_failures: Times that lost workers are replaced, from the last checkpoint.
    """

    address: str = "local"
    num_workers: int = 1
    use_gpu: bool = False
    cpus_per_worker: int = 1
    max_failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRecipe:
    """One run.

    Attributes:
        store: Folder or URL of the store, where there is one.
        sources: Instead: several, each a table; see ``Source``.
        out: Folder for checkpoints, losses and pictures; all ranks see it.
        condition: Column that the model is told, or nothing.
        condition_latents: Column of latents that it is given beside the noisy ones, or nothing;
            see ``train.conditioning_latents``.
        references: Columns of latents that it is given as tokens, in order.
        loss_mask: Column of masks that say where the loss counts, or nothing.
        model: ``dit``; ``masked`` for indices; ``wan`` for diffusers' ``WanTransformer3DModel``.
        wan: Its folder or configuration, where that is the model.
        device: ``auto``, ``cpu``, ``cuda``.
        normalize: Of the latents; see ``resolve_normalizer``.
        dit: Of ``DiTConfig``, but for the channels, which are the store's.
    """

    store: str = ""
    sources: tuple[Source, ...] = ()
    out: str = ""
    condition: str = ""
    condition_latents: str = ""
    references: tuple[str, ...] = ()
    loss_mask: str = ""
    model: Literal["dit", "masked", "wan"] = "dit"
    wan: str = ""
    device: str = "auto"
    normalize: Literal["auto", "published", "measured", "measured-global", "none"] = "auto"
    dit: Mapping[str, Any] = field(default_factory=dict)
    batches: BatchOptions = field(default_factory=BatchOptions)
    loader: LoaderOptions = field(default_factory=LoaderOptions)
    train: TrainOptions = field(default_factory=TrainOptions)
    output: OutputOptions = field(default_factory=OutputOptions)
    ray: ClusterOptions = field(default_factory=ClusterOptions)

    def __post_init__(self) -> None:
        if self.store and self.sources:
            raise ConfigError(
                f"store must be left out beside tables [[sources]], got {self.store!r}; write it "
                f"in the table that it belongs to"
            )
        if not (self.store or self.sources):
            raise ConfigError(
                "store or sources must be given, got neither; add `store = ...` to the recipe"
            )
        if not self.out:
            raise ConfigError("key 'out' must be given; add `out = ...` to the recipe")
        if (self.model == "wan") != bool(self.wan):
            raise ConfigError(
                f"wan must be given with the model wan and with no other, got {self.wan!r} and "
                f"model {self.model!r}; name the folder of its transformer"
            )
        # A misspelt key is told now, not once the store is open.
        _dit_config(self.dit, channels=1)

    def make_loader(self) -> LatentLoader:
        """Return the loader of this rank."""
        named = (self.condition, self.condition_latents, *self.references, self.loss_mask)
        columns = ["latents", *filter(None, named)]
        return LatentLoader(
            self._given_sources(),
            columns=[*columns, *self._shown()],
            global_batch_size=self.batches.global_batch_size,
            tokens_per_rank=self.batches.tokens_per_rank,
            micro_batches=self.batches.micro_batches,
            seed=self.batches.seed,
            normalize=self.normalize,
            options=self.loader,
        )

    def _given_sources(self) -> str | list[Source]:
        return list(self.sources) or self.store

    def _shown(self) -> list[str]:
        """Return columns that pictures of samples show: captions of texts that are embedded."""
        if not self.condition or not self.output.sample_every:
            return []
        snapshots = [one.open() for one in as_sources(self._given_sources())]
        is_text = all(self.condition in one.columns for one in snapshots)
        has_captions = all("caption" in one.record.annotations for one in snapshots)
        return ["caption"] if is_text and has_captions else []

    def make_model(self, loader: LatentLoader) -> nn.Module:
        """Return the model, with the same first weights on every rank.

        Raises:
            ConfigError: The condition does not fit it.
        """
        torch.manual_seed(self.batches.seed)
        if self.model == "wan":
            from latentcache.train.wan_transformer import load_wan  # noqa: PLC0415  loads diffusers

            return load_wan(self.wan)
        shapes = next(iter(loader.shapes().values()))
        told = {**told_by(self.condition, loader, self.dit), **self.dit}
        if self.model == "masked":
            return _masked(told, loader)
        if self.condition_latents in shapes:
            # Beside the column's own, one channel says which frames are given.
            told = {"conditioning_channels": shapes[self.condition_latents][1] + 1, **told}
        if self.references:
            told = {"takes_references": True, **told}
        return DiT(_dit_config(told, channels=shapes["latents"][1]))

    def make_trainer(self, device: torch.device, *, newest: Path | None = None) -> Trainer:
        """Return the trainer of this rank, at step 0.

        Args:
            device: Of this rank.
            newest: Checkpoint that will be gone on with: the model is made for the encoding that it
                was trained on, whatever the store serves since.
        """
        with in_recipe_words():
            loader = self.make_loader()
            state = read_loader_state(newest) if newest is not None else {}
            if state:
                loader.load_state_dict(state)
            return Trainer(
                self.make_model(loader),
                loader,
                self.train,
                device=device,
                condition=self.condition or None,
                condition_latents=self.condition_latents or None,
                references=self.references,
                loss_mask=self.loss_mask or None,
            )


def _masked(told: Mapping[str, Any], loader: LatentLoader) -> MaskedTransformer:
    """Return the model of a store's indices.

    Raises:
        ConfigError: Its latents are none.
    """
    codebook = loader.view_of("latents").record.spec.get("codebook")
    if not codebook:
        raise ConfigError(
            "model must be dit or wan for latents that are no indices, got masked; encode the "
            "store with a tokenizer, e.g. --encoder vq:WEIGHTS"
        )
    given = {"patch": (1, 1, 1), "has_position_embedding": True, **told}
    channels = int(given.get("width", DiTConfig(channels=1).width))
    return MaskedTransformer(_dit_config(given, channels=channels), codebook_size=codebook["size"])


def _dit_config(values: Mapping[str, Any], *, channels: int) -> DiTConfig:
    return config_from_mapping(DiTConfig, {"channels": channels, **values}, where="recipe: dit")
