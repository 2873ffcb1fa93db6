"""Draws about a sample's texts: which of them, and whether it is dropped; equal on any rank.

Keyed by the annotation and not by the column, so that a caption and every embedding of it are drawn
together.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.core.seeds import keyed_uint64
from latentcache.loader.order.epoch_order import OrderRule
from latentcache.loader.streams.stream import Picked, Stream

_ODDS = 2**64


def checked_weights(name: str, given: Any) -> tuple[float, ...]:
    """Return the weights of an annotation's texts, by their place among a sample's.

    Raises:
        ConfigError: They are no numbers above 0.
    """
    is_list = isinstance(given, Sequence) and not isinstance(given, str) and len(given) > 0
    if not is_list or not all(
        isinstance(one, (int, float)) and not isinstance(one, bool) and 0 < one < float("inf")
        for one in given
    ):
        raise ConfigError(
            f"text_weights must be numbers above 0 for each annotation, got {given!r} for {name}; "
            f'write {{"{name}": (3, 1)}}, the last for all further texts'
        )
    return tuple(map(float, given))


def chosen_text(draw: int, num_texts: int, weights: Sequence[float] = ()) -> int:
    """Return which of a sample's texts a draw takes.

    Args:
        draw: 64 uniform bits.
        num_texts: At least one.
        weights: By place; the last stands for all further ones. Without, all are alike.
    """
    if not weights:
        return draw % num_texts
    each = [weights[min(place, len(weights) - 1)] for place in range(num_texts)]
    ends = list(accumulate(each))
    at = draw / _ODDS * ends[-1]
    return next((place for place, end in enumerate(ends) if at < end), num_texts - 1)


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
