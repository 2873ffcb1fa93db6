"""What of a loader is rarely changed, and what is said of options that it does not have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.batch_reader import Posterior
from latentcache.loader.order.epoch_order import OrderRule
from latentcache.loader.order.whole_numbers import whole

_WORDS = {
    "batch_size": "global_batch_size=N, the samples of all ranks and micro-batches of a step",
    "shuffle": "nothing: the order is always shuffled, by seed; one_pass=True fixes it",
    "num_workers": "nothing: the loader needs no workers; LoaderOptions(prefetch=N) reads ahead",
    "pin_memory": "device='cuda', which reads through pinned memory",
    "drop_last": "nothing: a remainder opens the next epoch; one_pass=True gives it as it is",
    "sampler": "seed=N and Source(weight=...)",
    "collate_fn": "nothing: batches are made whole",
    "transform": "normalize=...",
    "gradient_accumulation_steps": "micro_batches=N",
    "num_replicas": "world_size=N",
    "drop_labels": "nothing: draw that in the training, by noise_seed",
}
"""What peers' words are called here."""

_OF_SOURCE = ("filter", "weight", "repeats", "holdout", "split_seed", "snapshot", "name", "store")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """What is rarely changed.

    Attributes:
        posterior: ``sample`` draws latents where a log-variance is stored, ``mode`` takes
            the mean.
        patch: Latent cells (T, H, W) per token, for ``tokens_per_rank``.
        partitions: Lanes that every global batch takes equally much from; a multiple of
            the number of nodes keeps each node on its own shards.
        window_shards: Read whole shards in a shuffled order and shuffle rows among this
            many; 0 shuffles everything, which is right for data that fits in memory or
            on a fast local disk.
        cache: Folder on a local disk for the tars of remote stores; processes share it.
        cache_bytes: Most it may hold.
        verify: Compare each local tar with its checksum when it is first needed, which reads
            it whole (half a gigabyte to two a second); those of remote stores always are.
        is_collective: In a process group, all its processes make this loader, and agree on
            what it reads; False for one that only some of them make, as rank 0 does for an
            evaluation.
        window_frames: Latent frames to take of each clip that has as many, at a place drawn anew
            each time: clips of one height and width make batches together, whatever their
            length. 0 takes clips whole.
        prefetch: Batches that a thread makes ahead; None is 2 for a CUDA device and 0 for the
            CPU, where the thread would take the training's cores.
    """

    posterior: Posterior = "sample"
    patch: tuple[int, int, int] = (1, 2, 2)
    partitions: int = 1
    window_shards: int = 0
    cache: str | Path | None = None
    cache_bytes: int = 64 * 2**30
    verify: bool = False
    is_collective: bool = True
    window_frames: int = 0
    prefetch: int | None = None

    def __post_init__(self) -> None:
        if self.posterior not in ("sample", "mode"):
            raise ConfigError(f"posterior must be sample or mode, got {self.posterior!r}")
        whole(self.prefetch or 0, name="prefetch", least=0)
        whole(self.window_frames, name="window_frames", least=0)

    @classmethod
    def of(cls, given: Any) -> "LoaderOptions":
        """Return the options that a user gave, or the defaults.

        Raises:
            ConfigError: They are something else.
        """
        if given is None:
            return cls()
        if not isinstance(given, cls):
            raise ConfigError(
                f"options must be LoaderOptions, got {given!r}; write LoaderOptions(name=value)"
            )
        return given

    def order_rule(self, seed: int, *, is_one_pass: bool) -> OrderRule:
        """Return what decides the order; a pass is of one lane."""
        num_lanes = 1 if is_one_pass else self.partitions
        return OrderRule(seed=seed, partitions=num_lanes, window_blocks=self.window_shards)

    def num_ahead(self, device: torch.device | None) -> int:
        """Return how many batches are made ahead for a device."""
        if self.prefetch is not None:
            return self.prefetch
        return 2 if device is not None and device.type == "cuda" else 0


def refuse_unknown(given: Mapping[str, Any]) -> None:
    """Refuse keywords that a loader does not have, with what was probably meant.

    Raises:
        ConfigError: There is one.
    """
    for name in given:
        if name in _WORDS:
            meant = _WORDS[name]
        elif name in _OF_SOURCE:
            meant = f"Source(store=..., {name}=...)"
        elif name in {one.name for one in fields(LoaderOptions)}:
            meant = f"options=LoaderOptions({name}=...)"
        else:
            meant = "the names in docs/loader.md"
        _refuse(name, meant)


def _refuse(name: str, meant: str) -> NoReturn:
    raise ConfigError(f"option must be one of LatentLoader's, got {name!r}; use {meant}")


def column_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a user asked for, each once.

    Raises:
        ConfigError: They are no list of names.
    """
    is_list = isinstance(columns, Sequence) and not isinstance(columns, str)
    if not is_list or not columns or not all(isinstance(name, str) for name in columns):
        raise ConfigError(
            f'columns must be a list of names, got {columns!r}; write for example ["latents"]'
        )
    return tuple(dict.fromkeys(columns))
