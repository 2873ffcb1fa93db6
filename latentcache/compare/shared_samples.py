"""Samples that all spaces hold: found by key, which is the same for the same source."""

from collections.abc import Sequence
from dataclasses import dataclass

from latentcache.compare.spaces import Space
from latentcache.core.errors import StoreError
from latentcache.evaluate import PlannedSample, choose_samples, find_samples


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedSamples:
    """What is compared.

    Attributes:
        keys: In plan order of the first space.
        by_space: Of each space, by key.
        num_drawn: Of the first space, before those were left out that another lacks.
        lacking: By space, how many of the drawn ones it lacks.
    """

    keys: tuple[str, ...]
    by_space: dict[str, dict[str, PlannedSample]]
    num_drawn: int
    lacking: dict[str, int]


def samples_again(spaces: Sequence[Space], keys: Sequence[str]) -> SharedSamples:
    """Return samples that were compared before; a space that lacks some is without them.

    Raises:
        StoreError: One has none of them.
    """
    by_space = {space.name: find_samples(space.view, keys) for space in spaces}
    for name, found in by_space.items():
        if not found:
            raise StoreError(
                f"space must hold samples of the comparison it is added to, got none of "
                f"{len(keys):,} in {name}; encode it over the same plan"
            )
    lacking = {name: len(keys) - len(found) for name, found in by_space.items()}
    return SharedSamples(keys=tuple(keys), by_space=by_space, num_drawn=len(keys), lacking=lacking)


def share_samples(spaces: Sequence[Space], num_samples: int, *, seed: int = 0) -> SharedSamples:
    """Return up to ``num_samples`` samples of the first space, and the same ones of the others.

    Raises:
        StoreError: There is none that all have.
    """
    first = spaces[0]
    drawn = {each.key: each for each in choose_samples(first.view, num_samples, seed=seed)}
    if not drawn:
        raise StoreError(
            f"column must hold samples to be compared, got none in {first.name}; run "
            "latentcache build or encode again"
        )
    by_space = {first.name: drawn}
    for space in spaces[1:]:
        by_space[space.name] = find_samples(space.view, list(drawn))
    keys = tuple(key for key in drawn if all(key in found for found in by_space.values()))
    lacking = {name: len(drawn) - len(found) for name, found in by_space.items()}
    if not keys:
        least = max(lacking, key=lambda name: lacking[name])
        example = next(iter(drawn.values()))
        clips = "clips of other frames are other samples: " if example.bucket.num_frames > 1 else ""
        raise StoreError(
            f"spaces must hold the same samples to be compared, got none of {len(drawn)} drawn of "
            f"{first.name} in {least} (for instance {example.source.label}); {clips}"
            "encode both over one plan, or name stores of one corpus"
        )
    return SharedSamples(keys=keys, by_space=by_space, num_drawn=len(drawn), lacking=lacking)
