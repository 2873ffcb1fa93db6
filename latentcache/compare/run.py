"""A comparison from beginning to end: open, draw, measure what is new, put side by side."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from latentcache.compare.compare_options import CompareOptions, Judges, load_judges
from latentcache.compare.comparison import Comparison, compare
from latentcache.compare.measure import measure_space
from latentcache.compare.measured import Measured, asked_digest, read_measured, write_measured
from latentcache.compare.metrics.probe import ProbeOptions
from latentcache.compare.pace import Expected, OnExpected, OnStep, Pace, expected_of
from latentcache.compare.remembered import remember
from latentcache.compare.shared_samples import SharedSamples, samples_again, share_samples
from latentcache.compare.spaces import Space
from latentcache.compare.unfinished import Unfinished


def run_comparison(
    spaces: Sequence[Space],
    options: CompareOptions,
    *,
    keep: Path | None = None,
    keys: Sequence[str] = (),
    on_expected: OnExpected = lambda _expected: None,
    on_step: OnStep = lambda _step: None,
) -> Comparison:
    """Return spaces side by side.

    Args:
        spaces: Two or more, or one alone.
        options: What is asked.
        keep: A folder for what was measured; what lies there already is not measured again.
        keys: Of an earlier comparison's samples, to which a space is added; () draws them.
        on_expected: Told beforehand what each space will take.
        on_step: Told how far it is and what is left.

    Raises:
        StoreError: They share no sample, or a store is damaged.
        ConfigError: A file of a judge's weights is not what it must be.
    """
    options = replace(options, probe=_same_tokens(spaces, options.probe))
    if keys:
        shared = samples_again(spaces, keys)
    else:
        shared = share_samples(spaces, options.num_samples, seed=options.seed)
    judges = load_judges(options)
    asked = {space.name: asked_digest(_asked(space, shared, options, judges)) for space in spaces}
    kept = {name: _kept(keep, digest, name) for name, digest in asked.items()}
    expected = [_expected(space, kept[space.name], shared, options) for space in spaces]
    on_expected(expected)
    pace = Pace(expected, on_step)
    found = []
    for space in spaces:
        measured = kept[space.name]
        if measured is None:
            unfinished = Unfinished(keep, asked[space.name])
            measured = measure_space(
                space,
                shared.by_space[space.name],
                shared.keys,
                options,
                judges=judges,
                on_stage=pace.of_space(space.name),
                unfinished=unfinished,
            )
            if keep is not None:
                write_measured(measured, keep, asked[space.name])
                unfinished.drop()
        found.append(measured)
    if keep is not None:
        remember([space.name for space in spaces], shared.keys, options, keep)
    return compare(found, shared.lacking, sections=options.sections)


def _kept(keep: Path | None, digest: str, name: str) -> Measured | None:
    return None if keep is None else read_measured(keep, digest, name=name)


def _expected(
    space: Space, kept: Measured | None, shared: SharedSamples, options: CompareOptions
) -> Expected:
    if kept is not None:
        return Expected(name=space.name, is_kept=True)
    return expected_of(space, shared.by_space[space.name], shared.keys, options)


def _same_tokens(spaces: Sequence[Space], probe: ProbeOptions | None) -> ProbeOptions | None:
    """Return a probe whose tokens stand for the same pixels in all spaces, in whole cells."""
    if probe is None:
        return None
    factors = [space.view.record.spec.get("spatial_factor") or (1, 1) for space in spaces]
    cells = [int(each[0]) for each in factors]
    return replace(probe, token_px=math.lcm(probe.token_px, *cells))


def _asked(
    space: Space, shared: SharedSamples, options: CompareOptions, judges: Judges
) -> dict[str, Any]:
    return {
        "store": space.view.folder.label,
        "encoding": space.view.record.fingerprint,
        "normalizer": space.normalizer.to_json() if space.normalizer else None,
        "decodes": space.why_no_encoder,
        "keys": list(shared.keys),
        **options.asked(judges),
    }
