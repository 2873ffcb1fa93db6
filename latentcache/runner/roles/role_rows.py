"""A unit's media of a role, as its run takes them: rows grouped by the shape of their pixels."""

from collections import defaultdict
from dataclasses import replace

import pyarrow as pa

from latentcache.core.errors import MediaError
from latentcache.core.inputs import encoded_bucket
from latentcache.core.media import Bucket
from latentcache.core.rejects import RETIRED_ROW, Reject, RejectCode
from latentcache.decode import classify
from latentcache.plan import cut_role
from latentcache.runner.decode.batch_collector import decode_rows_of
from latentcache.runner.decode.decode_tasks import DecodeRow
from latentcache.runner.messages.unit_orders import UnitOrder
from latentcache.runner.roles.role_probe import ABSENT, RoleFacts, RoleProbe, look_into
from latentcache.runner.roles.role_table import read_entries
from latentcache.runner.units.unit_rows import RowGroup, UnitRows
from latentcache.runner.units.unit_tools import UnitTools
from latentcache.storage import Folder
from latentcache.store import Generation


def role_rows(
    order: UnitOrder, table: pa.Table, generation: Generation, tools: UnitTools
) -> UnitRows:
    """Return the rows of a unit with the sources of their role; those without one are rejected.

    Args:
        order: Which unit, and of which table of the role.
        table: The unit's plan rows, with ``PLAN_COLUMNS``.
        generation: The unit's.
        tools: Of the actor.
    """
    planned = decode_rows_of(table, order.retired)
    entries = read_entries(tools.store, generation, order.annotation, order.unit)
    pairs = list(zip(planned, entries, strict=True))
    rejects = {row.row: ABSENT for row, entry in pairs if entry is None}
    rejects |= {row.row: RETIRED_ROW for row in planned if row.is_retired}
    named = [
        (row, entry.source) for row, entry in pairs if entry is not None and row.row not in rejects
    ]
    probe = RoleProbe(
        corpus=Folder.open(order.corpus_url),
        sources=tuple(source for _, source in named),
        limits=tools.pixels.limits,
        time_limit_s=tools.pixels.time_limit_s,
    )
    found = look_into(probe, tools.calls)
    groups: defaultdict[Bucket, list[DecodeRow]] = defaultdict(list)
    for (row, source), facts in zip(named, found, strict=True):
        outcome = _placed(replace(row, source=source), facts, order, tools)
        if isinstance(outcome, Reject):
            rejects[row.row] = outcome
        else:
            bucket, placed = outcome
            groups[bucket].append(placed)
    return UnitRows(
        groups=tuple(RowGroup(bucket, rows) for bucket, rows in sorted(groups.items())),
        rejects=rejects,
    )


def _placed(
    row: DecodeRow, facts: RoleFacts, order: UnitOrder, tools: UnitTools
) -> tuple[Bucket, DecodeRow] | Reject:
    if facts.reject is not None:
        return facts.reject
    transform = tools.pixels.transform
    assert transform.role is not None, "an input of a role has a rule"
    size_px, target = (facts.width_px, facts.height_px), order.unit.bucket
    try:
        bucket, geometry = cut_role(
            size_px, transform.role, row.geometry, target, is_video=facts.is_video
        )
    except MediaError as error:
        return classify(error, stage="decode")
    refusal = tools.encoder.encoder.spec.refusal(encoded_bucket(bucket, transform.input))
    if refusal is not None:
        return Reject(code=RejectCode.UNSUPPORTED.word, stage="decode", reason=refusal)
    if facts.is_video:
        return bucket, replace(row, geometry=geometry)
    return bucket, replace(row, geometry=geometry, start_s=None, frame_rate_fps=None)
