from .commits import commit_mismatch as commit_mismatch
from .commits import rank_commits as rank_commits
from .unit_reader import Array as Array
from .unit_reader import member_ranges as member_ranges
from .unit_reader import read_unit_meta as read_unit_meta

__all__ = [
    "Array",
    "commit_mismatch",
    "member_ranges",
    "rank_commits",
    "read_unit_meta",
]
