from .annotations import open_annotation as open_annotation
from .plan_tables import BESIDE_SCHEMA as BESIDE_SCHEMA
from .plan_tables import PLACED_PLAN_SCHEMA as PLACED_PLAN_SCHEMA
from .plan_tables import PLAN_SCHEMA as PLAN_SCHEMA
from .plan_tables import REJECTS_SCHEMA as REJECTS_SCHEMA
from .plan_tables import RETIRED_SCHEMA as RETIRED_SCHEMA
from .plan_tables import find_clip as find_clip
from .plan_tables import find_file as find_file
from .plan_tables import find_key as find_key
from .plan_tables import first_paths as first_paths
from .plan_tables import iter_beside as iter_beside
from .plan_tables import iter_rows as iter_rows
from .plan_tables import read_footer as read_footer
from .plan_tables import read_group as read_group
from .plan_tables import read_rejects as read_rejects
from .plan_tables import read_retired as read_retired
from .plan_tables import read_rows as read_rows
from .plan_tables import retired_shard as retired_shard
from .plan_tables import retired_table as retired_table
from .plan_tables import stored_columns as stored_columns
from .plan_tables import with_placements as with_placements
from .revisions import replace_values as replace_values
from .revisions import revise_annotation as revise_annotation

__all__ = [
    "BESIDE_SCHEMA",
    "PLACED_PLAN_SCHEMA",
    "PLAN_SCHEMA",
    "REJECTS_SCHEMA",
    "RETIRED_SCHEMA",
    "find_clip",
    "find_file",
    "find_key",
    "first_paths",
    "iter_beside",
    "iter_rows",
    "open_annotation",
    "read_footer",
    "read_group",
    "read_rejects",
    "read_retired",
    "read_rows",
    "replace_values",
    "retired_shard",
    "retired_table",
    "revise_annotation",
    "stored_columns",
    "with_placements",
]
