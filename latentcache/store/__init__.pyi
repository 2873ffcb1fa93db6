from .codebook import codebook_bytes as codebook_bytes
from .codebook import codebook_ref as codebook_ref
from .codebook import has_codebook as has_codebook
from .codebook import write_codebook as write_codebook
from .compaction import Held as Held
from .compaction import clear_values as clear_values
from .compaction import copy_unit as copy_unit
from .compaction import find_held as find_held
from .encoding_progress import EncodingProgress as EncodingProgress
from .encoding_progress import num_planned as num_planned
from .encoding_progress import num_samples as num_samples
from .encoding_progress import read_progress as read_progress
from .encoding_progress import unpublished_rejects as unpublished_rejects
from .format.records import BatchRule as BatchRule
from .format.records import Commit as Commit
from .format.records import EncodingRecord as EncodingRecord
from .format.records import Generation as Generation
from .format.records import NamedText as NamedText
from .format.records import Published as Published
from .format.records import UnitEntry as UnitEntry
from .format.spilled_tensor import SpilledTensor as SpilledTensor
from .format.tensors import TensorBytes as TensorBytes
from .free_encoding import QUIET_S as QUIET_S
from .free_encoding import free_encoding as free_encoding
from .garbage import GRACE_S as GRACE_S
from .garbage import GcReport as GcReport
from .garbage import collect_garbage as collect_garbage
from .retired_counts import retired_since as retired_since
from .rows.annotations import Annotation as Annotation
from .rows.annotations import AnnotationFile as AnnotationFile
from .rows.plan_draft import GenerationDraft as GenerationDraft
from .snapshots.column_tables import ColumnChange as ColumnChange
from .snapshots.column_tables import same_ops as same_ops
from .snapshots.numbers import Pin as Pin
from .snapshots.snapshot import ColumnView as ColumnView
from .snapshots.snapshot import Snapshot as Snapshot
from .store import Store as Store
from .store import open_store as open_store
from .units.commits import CommitRef as CommitRef
from .units.unit_writer import Provenance as Provenance
from .units.unit_writer import UnitWriter as UnitWriter
from .verification import Damage as Damage
from .verification import VerifyReport as VerifyReport
from .verification import listed_damage as listed_damage
from .verification import verify_encoding as verify_encoding
from .verification import verify_snapshot as verify_snapshot

__all__ = [
    "GRACE_S",
    "QUIET_S",
    "Annotation",
    "AnnotationFile",
    "BatchRule",
    "ColumnChange",
    "ColumnView",
    "Commit",
    "CommitRef",
    "Damage",
    "EncodingProgress",
    "EncodingRecord",
    "GcReport",
    "Generation",
    "GenerationDraft",
    "Held",
    "NamedText",
    "Pin",
    "Provenance",
    "Published",
    "Snapshot",
    "SpilledTensor",
    "Store",
    "TensorBytes",
    "UnitEntry",
    "UnitWriter",
    "VerifyReport",
    "clear_values",
    "codebook_bytes",
    "codebook_ref",
    "collect_garbage",
    "copy_unit",
    "find_held",
    "free_encoding",
    "has_codebook",
    "listed_damage",
    "num_planned",
    "num_samples",
    "open_store",
    "read_progress",
    "retired_since",
    "same_ops",
    "unpublished_rejects",
    "verify_encoding",
    "verify_snapshot",
    "write_codebook",
]
