"""What must be true of a small store after it was disturbed and its command run again."""

import os
import time
from pathlib import Path

import pyarrow as pa

from latentcache.store import Store, collect_garbage, verify_snapshot
from latentcache.store.snapshots.column_tables import PlanView
from tests.store.faulty_store import Memory
from tests.store.named_objects import left_over

_LONG_AGO_S = 10 * 24 * 3600


def served(store: Path) -> dict[str, tuple[str, ...]]:
    """Return what the newest snapshot serves: digests of units and statistics, and captions.

    A file of captions names the write of its plan, so its bytes are those of one run; its values
    are not.
    """
    snapshot = Store.open(store).snapshot()
    view = snapshot.column("latents")
    units = {
        str(entry.unit.unit): (entry.tar.sha256 if entry.tar else "", entry.meta.sha256)
        for entry in view.units()
    }
    captions = sorted(snapshot.record.annotations["caption"], key=lambda each: each.generation)
    return {
        **units,
        "statistics": (view.entry.statistics.sha256,),
        "captions": tuple(_values(store / entry.name) for entry in captions),
    }


def _values(path: Path) -> str:
    with pa.OSFile(str(path)) as file:
        return str(pa.ipc.open_file(file).read_all().to_pylist())


def check_whole(store: Path) -> None:
    """All that was planned is encoded or quarantined, once, and every byte is as recorded."""
    opened = Store.open(store)
    snapshot = opened.snapshot()
    view = snapshot.column("latents")
    assert view.num_missing == 0
    assert view.num_encoded + view.num_quarantined == view.entry.num_planned
    retired = PlanView.read(opened.folder, opened.generations()).retired
    keys = [
        key for key, unit, row, _ in view.iter_samples() if row not in retired.get(unit.shard, ())
    ]
    assert len(keys) == len(set(keys)) == view.num_encoded
    report = verify_snapshot(snapshot)
    assert report.ok, report.damaged


def check_no_orphans(store: Path) -> None:
    """Days later gc leaves nothing that nothing names, and what is served stays served."""
    opened, before = Store.open(store), served(store)
    then = time.time() - _LONG_AGO_S
    for path in store.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))
    collect_garbage(opened, dry_run=False)
    memory = Memory()
    for path in store.rglob("*"):
        if path.is_file():
            memory.put(str(path.relative_to(store)), path.read_bytes())
    rest = left_over(memory)
    assert not rest, rest
    assert served(store) == before
    assert verify_snapshot(opened.snapshot()).ok
