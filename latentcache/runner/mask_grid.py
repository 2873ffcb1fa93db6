"""``mask:COLUMN``: an encoder of masks on the grid that a column of the store has."""

from dataclasses import replace

from latentcache.core.errors import ConfigError
from latentcache.encoders import on_grid_of
from latentcache.runner.encode_request import EncodeRequest
from latentcache.store import Store


def with_mask_grid(store: Store, request: EncodeRequest) -> EncodeRequest:
    """Return ``request`` with the grid of the column that its encoder of masks names.

    ``mask:latents`` and ``mask:latents,pool=nearest`` name a column; ``mask:factor=8`` says the
    grid itself and is left as it is.

    Raises:
        ConfigError: The store has no such column, or it has no such grid.
    """
    name, _, argument = request.encode.encoder.partition(":")
    column, _, knobs = argument.partition(",")
    if name != "mask" or not column or "=" in column:
        return request
    records = store.encodings(column) if column in store.columns() else []
    served = store.snapshot().columns.get(column) if store.snapshots() else None
    if served is not None:
        records = [served.record]
    if len(records) != 1:
        known = ", ".join(store.columns()) or "none yet"
        raise ConfigError(
            f"mask must be brought to the grid of one of the store's columns ({known}), got "
            f"{column!r}; encode it first, or say the grid: mask:factor=8"
        )
    pool = knobs.removeprefix("pool=") if knobs.startswith("pool=") else ""
    if knobs and not pool:
        raise ConfigError(
            f"mask of a column takes pool alone beside it, got {knobs!r}; write for instance "
            f"mask:{column},pool=nearest"
        )
    encoder = on_grid_of(column, records[0].spec, pool)
    return replace(request, encode=replace(request.encode, encoder=encoder))
