"""latentcache again, over a store of many small shards."""

from pathlib import Path

from tests.benchmarks.loading.cases import Case
from tests.benchmarks.loading.peers.ours import open_passes, write_shards

__all__ = ["open_passes", "write"]


def write(case: Case, folder: Path) -> None:
    """Make the store."""
    write_shards(case, folder, case.many_rows_per_shard)
