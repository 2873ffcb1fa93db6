"""Draws about a sample's texts: which of them, and whether it is dropped; equal on any rank.

Keyed by the annotation and not by the column, so that a caption and every embedding of it are drawn
together.
"""

from latentcache.core.seeds import keyed_uint64
from latentcache.loader.order.epoch_order import OrderRule
from latentcache.loader.streams.stream import Picked, Stream


def text_draws(
    rule: OrderRule, what: str, annotation: str, stream: Stream, picked: Picked
) -> list[int]:
    """Return 64 uniform bits for each sample of a batch.

    Args:
        rule: Of the run: its seed and version.
        what: Is drawn: ``choice`` of several texts, or ``drop``.
        annotation: Whose texts.
        stream: They are drawn from.
        picked: Its rows.
    """
    names = [what, annotation]
    ends: list[tuple[int, ...]] = [(draw,) for draw in picked.draws.tolist()]
    if rule.version > 1:
        names.append(stream.place.name)
        ends = list(zip(picked.draws.tolist(), picked.replaced().tolist(), strict=True))
    keys = stream.keys(picked.rows)
    return [keyed_uint64(rule.seed, *names, key, *end) for key, end in zip(keys, ends, strict=True)]
