"""Repair: damaged units, encoded again at their next revision with the options they had."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast

import click

from latentcache.cli.flags import recipe_of
from latentcache.cli.look.decoding_flags import DecodingOptions, decoding_of
from latentcache.cli.run_reporting import run_reporting
from latentcache.core.errors import ConfigError
from latentcache.core.fields import FLOAT_DTYPES
from latentcache.core.inputs import recorded_input
from latentcache.core.units import UnitId

if TYPE_CHECKING:
    from latentcache.runner import EncodeOptions
    from latentcache.store import Damage, EncodingRecord, Snapshot, Store


def repair_damage(
    context: click.Context, store: "Store", snapshot: "Snapshot", damaged: "Sequence[Damage]"
) -> list[str]:
    """Encode the damaged units again, publish, and return what was done as ``column unit``."""
    from latentcache import runner

    units: dict[str, set[UnitId]] = defaultdict(set)
    for damage in damaged:
        if damage.unit is not None:
            units[damage.column].add(damage.unit)
    recipe, options = recipe_of(context), decoding_of(context)
    device = cast(Literal["auto", "cpu", "cuda"], options.device)
    for column, broken in units.items():
        record = snapshot.column(column).record
        request = runner.EncodeRequest(
            column=column,
            encode=recorded_options(record, options),
            resources=replace(recipe.resources, device=device),
            allow_partial=bool(snapshot.column(column).num_missing),
            rerun=frozenset(broken),
            expected_fingerprint=record.fingerprint,
            corpus_url=options.corpus or "",
        )
        with run_reporting(store.folder.url, recipe.resources) as reporter:
            runner.encode_column(store.folder.url, request, reporter=reporter)
    return [f"{column} {unit}" for column in sorted(units) for unit in sorted(units[column])]


def recorded_options(record: "EncodingRecord", options: DecodingOptions) -> "EncodeOptions":
    """Return what asks for the very encoding that ``record`` describes.

    ``options`` say where its weights are now; that is no part of the encoding.
    """
    from latentcache.runner import EncodeOptions

    if "imported" in record.identity:
        raise ConfigError(
            f"units to repair must be of an encoder, got column {record.column} "
            f"({record.spec.get('source')}); import it again"
        )
    identity, role = record.identity, record.transform.get("role", {})
    floats = {field.dtype for field in record.fields if field.dtype in FLOAT_DTYPES}
    return EncodeOptions(
        encoder=options.encoder or record.spec["source"],
        policy=record.policy,  # type: ignore[arg-type]  # checked by EncodeOptions
        dtype=identity["encoder"]["compute_dtype"],
        # With several dtypes the encoder chose them itself, and will again.
        storage_dtype=floats.pop() if len(floats) == 1 else "auto",
        batch_size=identity.get("batch", {}).get("size", 0),
        background=tuple(record.transform.get("background", (255, 255, 255))),
        hdr=record.transform.get("hdr", "tone_map"),
        input=recorded_input(record.transform),
        role_geometry=role.get("geometry", ""),
        role_resolution=role.get("resolution_px", 512),
        absent="allow" if role else "count",
        seed=identity.get("seed", 0),
        is_offline=options.is_offline,
    )
