"""Store format 1: plan, units, commits, snapshots; what writes them, reads them, checks them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latentcache.store.annotations import Annotation as Annotation
    from latentcache.store.annotations import AnnotationFile as AnnotationFile
    from latentcache.store.column_tables import ColumnChange as ColumnChange
    from latentcache.store.commits import CommitRef as CommitRef
    from latentcache.store.gc import GcReport as GcReport
    from latentcache.store.gc import collect_garbage as collect_garbage
    from latentcache.store.plan_draft import GenerationDraft as GenerationDraft
    from latentcache.store.reader import ColumnView as ColumnView
    from latentcache.store.reader import Snapshot as Snapshot
    from latentcache.store.records import BatchRule as BatchRule
    from latentcache.store.records import Commit as Commit
    from latentcache.store.records import EncodingRecord as EncodingRecord
    from latentcache.store.records import Generation as Generation
    from latentcache.store.records import UnitEntry as UnitEntry
    from latentcache.store.snapshots import Pin as Pin
    from latentcache.store.spooled import SpooledTensor as SpooledTensor
    from latentcache.store.store import Store as Store
    from latentcache.store.tensors import TensorBytes as TensorBytes
    from latentcache.store.unit_writer import Provenance as Provenance
    from latentcache.store.unit_writer import UnitWriter as UnitWriter
    from latentcache.store.verify import VerifyReport as VerifyReport
    from latentcache.store.verify import verify_snapshot as verify_snapshot

_HOMES = {
    "annotations": ("Annotation", "AnnotationFile"),
    "column_tables": ("ColumnChange",),
    "commits": ("CommitRef",),
    "gc": ("GcReport", "collect_garbage"),
    "plan_draft": ("GenerationDraft",),
    "reader": ("ColumnView", "Snapshot"),
    "records": ("BatchRule", "Commit", "EncodingRecord", "Generation", "UnitEntry"),
    "snapshots": ("Pin",),
    "spooled": ("SpooledTensor",),
    "store": ("Store",),
    "tensors": ("TensorBytes",),
    "unit_writer": ("Provenance", "UnitWriter"),
    "verify": ("VerifyReport", "verify_snapshot"),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)  # noqa: PLE0605  one table, so that no name is listed twice


def __getattr__(name: str) -> Any:
    # pyarrow takes 0.1 s to load: whoever needs one record does not wait for it.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
