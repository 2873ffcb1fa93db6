from .arrow_numbers import indices as indices
from .arrow_numbers import numbers as numbers
from .object_names import ROOT_FOLDERS as ROOT_FOLDERS
from .object_names import STORE_NAME as STORE_NAME
from .object_names import TableKind as TableKind
from .object_names import UnitObject as UnitObject
from .object_names import encoding_folder as encoding_folder
from .object_names import named_text_name as named_text_name
from .object_names import plan_name as plan_name
from .object_names import snapshot_name as snapshot_name
from .object_names import snapshot_table_name as snapshot_table_name
from .object_names import unit_object_name as unit_object_name
from .records import ColumnEntry as ColumnEntry
from .records import ObjectRef as ObjectRef
from .records import PlanPart as PlanPart
from .records import RecordRef as RecordRef
from .records import SnapshotRecord as SnapshotRecord
from .records import TableRef as TableRef
from .tar import BLOCK_BYTES as BLOCK_BYTES
from .tar import END_OF_ARCHIVE as END_OF_ARCHIVE
from .tar import KEY_DIGITS as KEY_DIGITS
from .tar import MemberLayout as MemberLayout
from .tar import member_bytes as member_bytes
from .tar import member_layout as member_layout
from .tensor_file import TensorEntry as TensorEntry
from .tensor_file import read_header as read_header
from .tensor_file import read_tensors as read_tensors
from .tensor_file import write_tensors as write_tensors
from .tensors import as_tensor_bytes as as_tensor_bytes
from .unit_meta import SOURCE_DIGEST_BYTES as SOURCE_DIGEST_BYTES
from .unit_meta import UnitMeta as UnitMeta
from .unit_meta import read_meta as read_meta
from .write_check import check_landed as check_landed

__all__ = [
    "BLOCK_BYTES",
    "END_OF_ARCHIVE",
    "KEY_DIGITS",
    "ROOT_FOLDERS",
    "SOURCE_DIGEST_BYTES",
    "STORE_NAME",
    "ColumnEntry",
    "MemberLayout",
    "ObjectRef",
    "PlanPart",
    "RecordRef",
    "SnapshotRecord",
    "TableKind",
    "TableRef",
    "TensorEntry",
    "UnitMeta",
    "UnitObject",
    "as_tensor_bytes",
    "check_landed",
    "encoding_folder",
    "indices",
    "member_bytes",
    "member_layout",
    "named_text_name",
    "numbers",
    "plan_name",
    "read_header",
    "read_meta",
    "read_tensors",
    "snapshot_name",
    "snapshot_table_name",
    "unit_object_name",
    "write_tensors",
]
