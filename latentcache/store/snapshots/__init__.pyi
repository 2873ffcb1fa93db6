from .column_tables import PlanView as PlanView
from .snapshot_tables import QUARANTINE_SCHEMA as QUARANTINE_SCHEMA
from .snapshot_tables import STATISTICS_SCHEMA as STATISTICS_SCHEMA
from .snapshot_tables import UNITS_SCHEMA as UNITS_SCHEMA
from .snapshot_tables import TableWriter as TableWriter
from .snapshot_tables import read_quarantine as read_quarantine
from .snapshot_tables import statistics_rows as statistics_rows
from .snapshot_tables import unit_row as unit_row
from .unit_table import UnitTable as UnitTable
from .unit_table import read_unit_table as read_unit_table

__all__ = [
    "QUARANTINE_SCHEMA",
    "STATISTICS_SCHEMA",
    "UNITS_SCHEMA",
    "PlanView",
    "TableWriter",
    "UnitTable",
    "read_quarantine",
    "read_unit_table",
    "statistics_rows",
    "unit_row",
]
