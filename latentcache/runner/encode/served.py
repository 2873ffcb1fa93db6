"""What a column is served by: kept where nothing else is named, replaced only when asked."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, get_args

from latentcache.core.errors import ConfigError
from latentcache.core.fields import FLOAT_DTYPES
from latentcache.core.inputs import recorded_input
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.run_options import EncodeOptions, Policy
from latentcache.runner.run_progress import Reporter
from latentcache.store import ColumnView, EncodingRecord, Published, Store, same_ops


def served_column(store: Store, column: str) -> ColumnView | None:
    """Return what serves ``column`` in the newest snapshot, or None."""
    return store.snapshot().columns.get(column) if store.snapshots() else None


def keep_served(store: Store, request: EncodeRequest, reporter: Reporter) -> EncodeRequest:
    """Return ``request`` with the options that nobody gave as the column has them.

    A forgotten ``--encoder`` must not encode everything anew with the default. A column that
    was begun and is not served yet counts too, if it has one encoding.

    Raises:
        ConfigError: It was begun with several encoders, or imported, and none is named.
    """
    if request.given is None:
        return request
    if "encoder" in request.given:
        return _with_kept_input(store, request, reporter)
    view = served_column(store, request.column)
    begun = [view.record] if view else store.encodings(request.column)
    if not begun:
        reporter.message(
            f"{request.column}: no encoder is named, taking {request.encode.encoder}, which has no "
            "weights; for a VAE: --encoder sdxl:PATH"
        )
        return request
    if len(begun) > 1:
        names = ", ".join(sorted(str(one.spec.get("source", one.spec["name"])) for one in begun))
        raise ConfigError(
            f"encoder must be named for column {request.column}, which was begun with {names} and "
            "is served by none; give --encoder"
        )
    (record,) = begun
    if "imported" in record.identity:
        raise ConfigError(
            f"encoder must be named for column {request.column}, which was imported "
            f"({record.spec.get('source')}); import what it lacks, or give --encoder and --column"
        )
    recorded = options_of(record)
    kept = {name: value for name, value in recorded.items() if name not in request.given}
    encode = replace(request.encode, **kept)
    if encode != request.encode:
        reporter.message(f"{request.column}: no encoder is named, keeping {encode.encoder}")
    return replace(request, encode=encode)


def _with_kept_input(store: Store, request: EncodeRequest, reporter: Reporter) -> EncodeRequest:
    """Return ``request`` with the input of the served column where another encoder alone is asked.

    An encoder that takes pixels would else make a column of references one of the samples.
    """
    view = served_column(store, request.column)
    if request.given is None or "input" in request.given or view is None:
        return request
    given = request.given
    recorded = _input_options(view.record.transform)
    kept = {name: value for name, value in recorded.items() if name not in given}
    encode = replace(request.encode, **kept)
    if encode.input == request.encode.input:
        return request
    reporter.message(f"{request.column}: no input is named, keeping {encode.input}")
    return replace(request, encode=encode)


def _input_options(transform: Mapping[str, Any]) -> dict[str, Any]:
    """Return the input that an encoding was asked with, and of a role how its media are cut."""
    found: dict[str, Any] = {"input": recorded_input(transform)}
    if "role" in transform:
        found["role_geometry"] = transform["role"]["geometry"]
        found["role_resolution"] = transform["role"].get("resolution_px", 512)
    return found


def options_of(record: EncodingRecord) -> dict[str, Any]:
    """Return the options that an encoding was asked with, as far as its record tells."""
    transform, identity = record.transform, record.identity
    floats = {field.dtype for field in record.fields if field.dtype in FLOAT_DTYPES}
    found = {
        "encoder": record.spec.get("source") or record.spec["name"],
        "policy": record.policy if record.policy in get_args(Policy) else "moments",
        "dtype": record.spec["compute_dtype"],
        "storage_dtype": floats.pop() if len(floats) == 1 else "auto",
        "batch_size": identity.get("batch", {}).get("size", 0),
        **_input_options(transform),
        "seed": identity.get("seed", 0),
    }
    for name in ("background", "hdr"):
        if name in transform:
            value = transform[name]
            found[name] = tuple(value) if isinstance(value, list) else value
    known = {field.name for field in fields(EncodeOptions)}
    return {name: value for name, value in found.items() if name in known}


def check_replaces(store: Store, request: EncodeRequest, record: EncodingRecord) -> None:
    """Refuse to serve another encoding under a column's name unless that is asked.

    Raises:
        ConfigError: It is not; says what would be replaced by what.
    """
    view = served_column(store, request.column)
    if view is None or request.may_replace or view.record.fingerprint == record.fingerprint:
        return
    then, now = (_described(one) for one in (view.record, record))
    if then == now:
        now = f"{now} with other options or pixels"
    raise ConfigError(
        f"column {request.column} must keep its encoding, got {now} ({record.fingerprint[:12]}) "
        f"where snapshot {store.snapshots()[-1]} serves {then} ({view.record.fingerprint[:12]}); "
        "replace it with --replace (runs that are under way stay on the old one), or give the new "
        "one another name with --column"
    )


def same_column(
    store: Store, record: EncodingRecord, reporter: Reporter
) -> tuple[int, ColumnView] | None:
    """Return the snapshot and another column of it that holds what ``record`` would make.

    A column's name stands in every member of its tars, so that it cannot serve two.
    """
    if not store.snapshots() or store.encodings(record.column):
        return None
    snapshot = store.snapshot()
    for name, view in sorted(snapshot.columns.items()):
        entry = view.entry
        is_whole = not entry.num_missing and entry.num_generations == len(store.generations())
        if view.record.fingerprint != record.fingerprint or name == record.column or not is_whole:
            continue
        if same_ops(view.record.normalizer, record.normalizer):
            reporter.message(
                f"{record.column}: already there as column {name}, made of the same weights, "
                f"pixels and options; nothing is encoded, name {name} when you train"
            )
            return snapshot.number, view
        reporter.message(
            f"{record.column}: column {name} holds the same latents, only the published normalizer "
            f"is another ({_figures(view.record.normalizer)} there, "
            f"{_figures(record.normalizer)} here); a column of its own is made for that"
        )
    _tell_of_unserved(store, record, reporter)
    return None


def _tell_of_unserved(store: Store, record: EncodingRecord, reporter: Reporter) -> None:
    """Say which other column has the encoding that ``record`` asks for and does not serve it."""
    for column in store.columns():
        served = served_column(store, column)
        fingerprints = {each.fingerprint for each in store.encodings(column)}
        is_served = served is not None and served.record.fingerprint == record.fingerprint
        if column != record.column and record.fingerprint in fingerprints and not is_served:
            source = record.spec.get("source") or record.spec["name"]
            reporter.message(
                f"{record.column}: column {column} has this encoding too and does not serve it; a "
                "column's name stands in its tars, so it is encoded again here. To serve what is "
                f"there instead, stop and give: latentcache swap {store.folder.label} --column "
                f"{column} --encoder {source}"
            )


def asked_figures(
    store: Store, asked: EncodingRecord, pinned: EncodingRecord, reporter: Reporter
) -> Published:
    """Return the published normalization to name, and say where it differs from what is served.

    It is no part of the fingerprint, since nothing stored depends on it: so it can be corrected
    without encoding anything.
    """
    view = served_column(store, asked.column)
    is_served = view is not None and view.record.fingerprint == pinned.fingerprint
    then = view.record.normalizer if view is not None and is_served else pinned.normalizer
    if not same_ops(then, asked.normalizer):
        reporter.message(
            f"{asked.column}: the published normalizer was {_figures(then)} and is now "
            f"{_figures(asked.normalizer)}; nothing is encoded anew for it, the next snapshot "
            "names the new one and runs that are under way keep theirs"
        )
    return Published(normalizer=asked.normalizer, encoder=str(asked.spec.get("source", "")))


def _described(record: EncodingRecord) -> str:
    return f"{record.spec.get('source') or record.spec['name']} ({record.policy})"


def _figures(normalizer: dict[str, Any] | None) -> str:
    """Return what a normalizer does, short."""
    if normalizer is None:
        return "none (measured figures serve)"
    parts = []
    for op in normalizer["ops"]:
        values = list(op.get("values", ()))
        shown = ", ".join(f"{value:.6g}" for value in values[:3])
        parts.append(f"{op['op']} {shown}{' ...' if len(values) > 3 else ''}".strip())
    return f"{' then '.join(parts) or 'nothing to do'} ({normalizer.get('source', 'unknown')})"
