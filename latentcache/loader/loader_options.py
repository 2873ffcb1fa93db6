"""What of a loader is rarely changed, and what is said of options that it does not have."""

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.batch_reader import Posterior
from latentcache.loader.cache.shard_cache import ShardCache
from latentcache.loader.order.epoch_order import OrderRule
from latentcache.loader.order.whole_numbers import whole
from latentcache.loader.streams.make_streams import StreamRule
from latentcache.loader.text.text_draws import checked_weights
from latentcache.loader.transform.indices import IndexForm, checked_forms
from latentcache.storage import Folder
from latentcache.store import Store

logger = logging.getLogger(__name__)

_CACHE_BYTES = 64 * 2**30
_TOLD: set[str] = set()
"""Default cache folders that were named once."""

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
    **dict.fromkeys(
        ("state", "state_dict", "resume", "resume_from", "checkpoint"),
        "loader.load_state_dict(state) once it is made, with the batch.state that was kept",
    ),
    **dict.fromkeys(
        ("epoch", "epochs", "num_epochs"),
        "nothing: it is endless, len(loader) is the batches of an epoch; one_pass=True ends",
    ),
    **dict.fromkeys(
        ("prefetch_factor", "persistent_workers"), "LoaderOptions(prefetch=N), batches made ahead"
    ),
}
"""What peers' words are called here."""

_DTYPES = ("float32", "bfloat16", "float16")
_OWN = (
    "columns", "global_batch_size", "tokens_per_rank", "micro_batches", "seed", "rank",
    "world_size", "device", "normalize", "split", "one_pass", "options",
)  # fmt: skip
_OF_SOURCE = ("filter", "weight", "repeats", "holdout", "split_seed", "snapshot", "name", "store")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderOptions:
    """What is rarely changed.

    Attributes:
        posterior: ``sample`` draws latents where a log-variance is stored, ``mode`` takes
            the mean.
        indices: What a batch has of indices, for all columns of them or by column: ``int64``;
            ``stored``, in their own dtype; ``vectors`` of their codebook, [B, D, ...].
        patch: Latent cells (T, H, W) per token, for ``tokens_per_rank``.
        partitions: Lanes that every global batch takes equally much from; a multiple of
            the number of nodes keeps each node on its own shards.
        window_shards: Read whole shards in a shuffled order and shuffle rows among this
            many; 0 shuffles everything, which is right for data that fits in memory or
            on a fast local disk.
        cache: Folder on a local disk for the tars of remote stores; processes share it. None is
            one in the user's cache folder, where a store is remote.
        cache_bytes: Most it may hold; None is 64 GiB, or half of what the disk has free and the
            folder holds, if that is less.
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
        text_drop: Share of samples whose embedded texts are the empty one's, drawn by sample and
            epoch, the same for all columns of one annotation. A training that drops conditions
            itself leaves it at 0.
        text_weights: By annotation, how often each of a sample's several texts is drawn, by its
            place among them; the last stands for all further ones. Without, all are drawn alike.
        batch_by: Columns, or roles of columns, whose shapes part each bucket: a batch has one
            shape of each, as one tensor and no list.
        dtype: Of latents that are drawn or normalized: ``float32``, or ``bfloat16`` or ``float16``
            for a model that takes no more, in half the memory. Computed in float32 and rounded
            once; what is given as stored keeps its dtype.
    """

    posterior: Posterior = "sample"
    indices: IndexForm | Mapping[str, IndexForm] = "int64"
    patch: tuple[int, int, int] = (1, 2, 2)
    partitions: int = 1
    window_shards: int = 0
    cache: str | Path | None = None
    cache_bytes: int | None = None
    verify: bool = False
    is_collective: bool = True
    window_frames: int = 0
    prefetch: int | None = None
    text_drop: float = 0.0
    text_weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    batch_by: tuple[str, ...] = ()
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.posterior not in ("sample", "mode"):
            raise ConfigError(f"posterior must be sample or mode, got {self.posterior!r}")
        if self.dtype not in _DTYPES:
            raise ConfigError(
                f"dtype must be {', '.join(_DTYPES[:-1])} or {_DTYPES[-1]}, got {self.dtype!r}; "
                f'write LoaderOptions(dtype="bfloat16")'
            )
        object.__setattr__(self, "indices", checked_forms(self.indices))
        if not 0 <= self.text_drop <= 1:
            raise ConfigError(f"text_drop must be from 0 to 1, got {self.text_drop}")
        if isinstance(self.batch_by, str) or not all(isinstance(one, str) for one in self.batch_by):
            raise ConfigError(
                f'batch_by must be a list of names, got {self.batch_by!r}; write ["reference.0"]'
            )
        object.__setattr__(self, "batch_by", tuple(self.batch_by))
        weights = {name: checked_weights(name, each) for name, each in self.text_weights.items()}
        object.__setattr__(self, "text_weights", weights)
        whole(self.prefetch or 0, name="prefetch", least=0)
        whole(self.window_frames, name="window_frames", least=0)
        _ = self.stream_rule  # refused now, not at the first bucket

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

    def open_cache(self, stores: Sequence[str | Path | Store]) -> ShardCache | None:
        """Return the cache of a loader's stores, or None where none is asked for or needed."""
        folder = self.cache
        if folder is None:
            remote = [one for one in map(_folder_of, stores) if not one.is_local]
            if not remote:
                return None
            folder = user_cache_folder()
        cache = ShardCache(Path(folder), self._cache_bytes(Path(folder)))
        if self.cache is None and str(folder) not in _TOLD:
            _TOLD.add(str(folder))
            logger.warning(
                "tars of %s are kept in %s, up to %.3g GB; LoaderOptions(cache=FOLDER, "
                "cache_bytes=N) chooses otherwise",
                remote[0].label,
                folder,
                cache.max_bytes / 1e9,
            )
        return cache

    def _cache_bytes(self, folder: Path) -> int:
        if self.cache_bytes is not None:
            return self.cache_bytes
        there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        held = sum(path.stat().st_size for path in folder.glob("*.tar"))
        return min(_CACHE_BYTES, (shutil.disk_usage(there).free + held) // 2)

    @property
    def stream_rule(self) -> StreamRule:
        """What makes streams beside the buckets."""
        return StreamRule(window_frames=self.window_frames, batch_by=self.batch_by)

    def order_json(self) -> dict[str, Any]:
        """Return what of these decides the order or the draws, where it is not the default."""
        return {
            **({"window_frames": self.window_frames} if self.window_frames else {}),
            **({"text_drop": self.text_drop} if self.text_drop else {}),
            **({"text_weights": self._weights_json()} if self.text_weights else {}),
            **({"batch_by": list(self.batch_by)} if self.batch_by else {}),
        }

    def _weights_json(self) -> dict[str, list[float]]:
        return {name: list(self.text_weights[name]) for name in sorted(self.text_weights)}

    def order_rule(self, seed: int, *, is_one_pass: bool) -> OrderRule:
        """Return what decides the order; a pass is of one lane."""
        num_lanes = 1 if is_one_pass else self.partitions
        return OrderRule(seed=seed, partitions=num_lanes, window_blocks=self.window_shards)

    def num_ahead(self, device: torch.device | None) -> int:
        """Return how many batches are made ahead for a device."""
        if self.prefetch is not None:
            return self.prefetch
        return 2 if device is not None and device.type == "cuda" else 0


def user_cache_folder() -> Path:
    """Return the folder in ``$XDG_CACHE_HOME``, or in ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if home else Path.home() / ".cache") / "latentcache" / "shards"


def _folder_of(store: str | Path | Store) -> Folder:
    return store.folder if isinstance(store, Store) else Folder.open(store)


def refuse_unknown(given: Mapping[str, Any]) -> None:
    """Refuse keywords that a loader does not have, each with what was probably meant.

    Raises:
        ConfigError: There is one.
    """
    if given:
        names = ", ".join(given)
        ways = "; ".join(f"for {name} use {_meant(name)}" for name in given)
        raise ConfigError(f"options must be LatentLoader's, got {names}; {ways}")


def _meant(name: str) -> str:
    if name in _WORDS:
        return _WORDS[name]
    if name in _OF_SOURCE:
        return f"Source(store=..., {name}=...)"
    of_options = [one.name for one in fields(LoaderOptions)]
    if name in of_options:
        return f"options=LoaderOptions({name}=...)"
    near = get_close_matches(name, [*_OWN, *of_options, *_OF_SOURCE, *_WORDS], n=1, cutoff=0.7)
    if not near:
        return "one of the names in docs/loader.md"
    return f"{near[0]}=..." if near[0] in _OWN else _meant(near[0])


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
