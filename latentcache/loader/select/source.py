"""Sources: what of which snapshot a run trains on, and how much of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from latentcache.core.errors import ConfigError
from latentcache.store import Pin, Snapshot, Store

_HELD_OUT = 64
_ONE = "+one"
"""Of samples with several rows, one is drawn; follows the split in a run's state."""

Split = Literal["all", "train", "val"]
Placements = Literal["all", "one"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows of one store.

    Attributes:
        store: A URL, or an open store.
        name: Keys the order; give one where a source may be added before this one.
        snapshot: A number or a pin; None is the newest, pinned when the run begins.
        filter: Expression over plan fields and annotations; "" is everything.
        weight: Share of the samples, relative to the other sources; None is in
            proportion to its rows times ``repeats``.
        repeats: Times an epoch goes through the source; only without ``weight``.
        split: ``train`` or ``val`` of a split by medium: clips and crops of one file are
            all on one side, for ever.
        holdout: Share of the media in ``val``; None is 0.01, and of a store that was first planned
            with fewer than 6,400 samples what would give 64 of them, 0.1 at most.
        split_seed: Draws another split.
        placements: Of samples with several rows (resolutions, crops, flips), ``all`` are samples of
            their own; ``one`` draws one of them each epoch, the same for all columns: all equally
            often where samples have as many rows.
    """

    store: str | Path | Store
    name: str = ""
    snapshot: int | Pin | None = None
    filter: str = ""
    weight: float | None = None
    repeats: float = 1.0
    split: Split = "all"
    holdout: float | None = None
    split_seed: int = 0
    placements: Placements = "all"

    def __post_init__(self) -> None:
        for name in ("name", "filter"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be text, got {getattr(self, name)!r}; quote it")
        for name in ("weight", "repeats", "holdout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise ConfigError(f"{name} must be a number, got {value!r}; pass a float")
        if not isinstance(self.snapshot, int | Pin | None):
            raise ConfigError(
                f"snapshot must be a number or a Pin, got {self.snapshot!r}; leave it out for the "
                f"newest"
            )
        if self.split not in ("all", "train", "val"):
            raise ConfigError(f"split must be all, train or val, got {self.split!r}")
        if self.placements not in ("all", "one"):
            raise ConfigError(f"placements must be all or one, got {self.placements!r}")
        if self.holdout is not None and not 0 < self.holdout < 1:
            raise ConfigError(f"holdout must be between 0 and 1, got {self.holdout}; use 0.01")
        if not 0 < self.repeats < float("inf"):
            raise ConfigError(f"repeats must be positive, got {self.repeats}; use 1")
        if self.weight is not None and self.repeats != 1:
            raise ConfigError(
                f"repeats must be 1 beside a weight, got {self.repeats}; a weight alone says "
                f"how much of the source is seen"
            )

    def open(self, pin: Pin | None = None) -> Snapshot:
        """Return the snapshot to read; ``pin`` stands in for the newest."""
        store = self.opened_store()
        if isinstance(self.snapshot, Pin):
            return store.pinned_snapshot(self.snapshot)
        if self.snapshot is not None:
            return store.snapshot(self.snapshot)
        return store.pinned_snapshot(pin) if pin else store.snapshot()

    def opened_store(self) -> Store:
        """Return the store, open."""
        return self.store if isinstance(self.store, Store) else Store.open(self.store)

    def with_holdout(self, num_planned: int) -> "Source":
        """Return the source with its default share worked out.

        Args:
            num_planned: Samples that the store was first planned with: growth changes no split.
        """
        if self.holdout is not None:
            return self
        return replace(self, holdout=min(0.1, max(0.01, _HELD_OUT / max(1, num_planned))))

    def selection_key(self) -> str:
        """Return what, beside the snapshot, decides which rows are selected."""
        split = self.split + (_ONE if self.placements == "one" else "")
        if self.split == "all":
            return f"{split}|{self.filter}"
        return f"{split}|{self.holdout}|{self.split_seed}|{self.filter}"


def held_out_as(sources: Sequence[Source], run: Sequence[Mapping[str, Any]]) -> tuple[Source, ...]:
    """Return the sources of a run that goes on: those without a ``holdout`` keep the run's.

    Args:
        sources: As asked for.
        run: ``sources`` of its state.
    """
    shares = [
        _holdout_of(str(one["selection"]), source)
        for source, one in zip(sources, run, strict=False)
    ]
    shares += [None] * (len(sources) - len(shares))
    return tuple(
        source if share is None else replace(source, holdout=share)
        for source, share in zip(sources, shares, strict=True)
    )


def _holdout_of(key: str, source: Source) -> float | None:
    """Return the share in a ``selection_key``, for a source that has none of its own."""
    split, *rest = key.split("|", 3)
    split = split.removesuffix(_ONE)
    if source.holdout is not None or source.split == "all" or split != source.split:
        return None
    try:
        share = float(rest[0])
    except (ValueError, IndexError):  # told when the two are compared
        return None
    return share if 0 < share < 1 else None


Sources = str | Path | Store | Source | Sequence[str | Path | Store | Source]
"""What a user may give for sources."""


def as_sources(
    given: Sources, *, split: Split | None = None, is_one_pass: bool = False
) -> tuple[Source, ...]:
    """Return the sources that a user gave: a store, its URL, a source, or several of them.

    Args:
        given: By the user.
        split: Of all of them, or None.
        is_one_pass: They are gone through once.

    Raises:
        ConfigError: There is none, or only some have a weight.
    """
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    several: list[Any] = list(given) if is_list else [given]  # type: ignore[arg-type]  # so said
    for one in several:
        if not isinstance(one, str | Path | Store | Source):
            raise ConfigError(
                f"sources must be a store's URL, a store, a Source or a list of them, got {one!r}; "
                f"pass one"
            )
    sources = []
    for number, one in enumerate(several):
        source = one if isinstance(one, Source) else Source(store=one)
        if split is not None:
            source = _with_split(source, split)
        if is_one_pass and (source.weight is not None or source.repeats != 1):
            raise ConfigError(
                f"weight and repeats must be left out for one pass, got {source.weight} and "
                f"{source.repeats} (source {source.name or number}); a pass takes each row once"
            )
        if not source.name:
            source = replace(source, name=str(number))
        sources.append(source)
    names = [source.name for source in sources]
    if not sources or len(set(names)) < len(names):
        raise ConfigError(
            f"sources must be one or more, of different names, got {names}; give each a name "
            f"of its own"
        )
    weighted = [source.weight is not None for source in sources]
    if any(weighted) and not all(weighted):
        raise ConfigError(
            f"weights must be given to all sources or to none, got "
            f"{[source.weight for source in sources]}; give each a weight"
        )
    return tuple(sources)


def _with_split(source: Source, split: Split) -> Source:
    if source.split not in ("all", split):
        raise ConfigError(
            f"split must be said once, got {split} for the loader and {source.split} for source "
            f"{source.name}; leave one out"
        )
    return replace(source, split=split)
