"""A comparison from beginning to end: open, draw, measure what is new, put side by side."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentcache.compare.compare_options import CompareOptions
from latentcache.compare.comparison import Comparison, compare
from latentcache.compare.measure import OnProgress, measure_space
from latentcache.compare.measured import Measured, asked_digest, read_measured, write_measured
from latentcache.compare.metrics.probe import ProbeOptions
from latentcache.compare.remembered import remember
from latentcache.compare.shared_samples import SharedSamples, samples_again, share_samples
from latentcache.compare.spaces import Space

OnSpace = Callable[[str], OnProgress]


def run_comparison(
    spaces: Sequence[Space],
    options: CompareOptions,
    *,
    keep: Path | None = None,
    keys: Sequence[str] = (),
    on_space: OnSpace = lambda _name: lambda _done, _total: None,
) -> Comparison:
    """Return spaces side by side.

    Args:
        spaces: Two or more, or one alone.
        options: What is asked.
        keep: A folder for what was measured; what lies there already is not measured again.
        keys: Of an earlier comparison's samples, to which a space is added; () draws them.
        on_space: Told which space is measured; gives what is told of its samples.

    Raises:
        StoreError: They share no sample, or a store is damaged.
    """
    options = replace(options, probe=_same_tokens(spaces, options.probe))
    if keys:
        shared = samples_again(spaces, keys)
    else:
        shared = share_samples(spaces, options.num_samples, seed=options.seed)
    found = [_measured(space, shared, options, keep, on_space) for space in spaces]
    if keep is not None:
        remember([space.name for space in spaces], shared.keys, options, keep)
    return compare(found, shared.lacking, sections=options.sections)


def _same_tokens(spaces: Sequence[Space], probe: ProbeOptions | None) -> ProbeOptions | None:
    """Return a probe whose tokens stand for the same pixels in all spaces, in whole cells."""
    if probe is None:
        return None
    factors = [space.view.record.spec.get("spatial_factor") or (1, 1) for space in spaces]
    cells = [int(each[0]) for each in factors]
    return replace(probe, token_px=math.lcm(probe.token_px, *cells))


def _measured(
    space: Space,
    shared: SharedSamples,
    options: CompareOptions,
    keep: Path | None,
    on_space: OnSpace,
) -> Measured:
    digest = asked_digest(_asked(space, shared, options))
    if keep is not None and (known := read_measured(keep, digest, name=space.name)):
        return known
    measured = measure_space(
        space,
        shared.by_space[space.name],
        shared.keys,
        options,
        on_progress=on_space(space.name),
    )
    if keep is not None:
        write_measured(measured, keep, digest)
    return measured


def _asked(space: Space, shared: SharedSamples, options: CompareOptions) -> dict[str, Any]:
    return {
        "store": space.view.folder.label,
        "encoding": space.view.record.fingerprint,
        "normalizer": space.normalizer.to_json() if space.normalizer else None,
        "decodes": space.why_no_encoder,
        "keys": list(shared.keys),
        **options.asked(),
    }
