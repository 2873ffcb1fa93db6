from .commit_choices import commit_entry as commit_entry
from .commits import CommitRef as CommitRef
from .commits import commit_mismatch as commit_mismatch
from .commits import rank_commits as rank_commits
from .commits import read_commit as read_commit
from .scratch import remove_dead_scratch as remove_dead_scratch
from .unit_reader import Array as Array
from .unit_reader import SampleFields as SampleFields
from .unit_reader import UnitSample as UnitSample
from .unit_reader import iter_unit as iter_unit
from .unit_reader import member_ranges as member_ranges
from .unit_reader import read_unit_meta as read_unit_meta

__all__ = [
    "Array",
    "CommitRef",
    "SampleFields",
    "UnitSample",
    "commit_entry",
    "commit_mismatch",
    "iter_unit",
    "member_ranges",
    "rank_commits",
    "read_commit",
    "read_unit_meta",
    "remove_dead_scratch",
]
