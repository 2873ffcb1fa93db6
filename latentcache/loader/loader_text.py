"""A loader in words: what ``print(loader)`` shows."""

from collections.abc import Iterator

from latentcache.loader.order.batch_sizes import Ranks
from latentcache.loader.run_config import RunConfig
from latentcache.loader.select.source import Source
from latentcache.loader.transform.normalizer import Normalizer

_MOST_STREAMS = 8


def as_text(run: RunConfig, ranks: Ranks, step: int) -> str:
    """Return some lines: sources, columns, streams, ranks and what is done to the latents.

    Args:
        run: What is drawn.
        ranks: Of this process.
        step: Optimizer steps done.
    """
    return "\n  ".join([f"LatentLoader, step {step:,}", *_lines(run, ranks)])


def _lines(run: RunConfig, ranks: Ranks) -> Iterator[str]:
    for one in run.opened:
        number = one.snapshot.pin.number
        yield f"store {one.snapshot.folder.label}, snapshot {number}{_selected(one.source)}"
    yield f"columns {', '.join(run.recipe.columns)}"
    rows = [stream.selection.num_rows for stream in run.streams]
    what = "samples" if any(one.source.placements == "one" for one in run.opened) else "rows"
    # Streams of one family are over the same samples, each with its share of them.
    count = round(sum(num * stream.share for num, stream in zip(rows, run.streams, strict=True)))
    yield f"{what} {count:,} in {len(rows):,} stream{'s' * (len(rows) > 1)}"
    members = list(zip(run.streams, run.mixture.members, rows, strict=True))
    for stream, member, num_rows in members[:_MOST_STREAMS]:
        name = stream.place.name
        yield f"  {name}: {num_rows:,} {what}, {member.batch_size} in a global batch"
    if len(members) > _MOST_STREAMS:
        yield f"  ... and {len(members) - _MOST_STREAMS:,} more"
    micro = f", {ranks.micro_batches} micro-batches a step" if ranks.micro_batches > 1 else ""
    yield f"rank {ranks.rank} of {ranks.world_size}{micro}"
    yield f"{run.recipe.latents}: {_normalized(run.recipe.normalizer)}"


def _selected(source: Source) -> str:
    parts = [f"filter {source.filter}"] if source.filter else []
    if source.split != "all":
        parts.append(f"split {source.split} (holdout {source.holdout:g})")
    if source.placements == "one":
        parts.append("one placement of each sample")
    if source.weight is not None:
        parts.append(f"weight {source.weight:g}")
    elif source.repeats != 1:
        parts.append(f"repeats {source.repeats:g}")
    return "".join(f", {part}" for part in parts)


def _normalized(normalizer: Normalizer) -> str:
    if not normalizer.ops:
        return "as stored"
    steps = ", ".join(str(one["op"]) for one in normalizer.ops)
    return f"normalized by {normalizer.source} figures ({steps})"
