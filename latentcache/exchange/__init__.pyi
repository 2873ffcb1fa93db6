from .copying import CopyResult as CopyResult
from .copying import copy_store as copy_store
from .exporting import FORMATS as FORMATS
from .exporting import ExportRequest as ExportRequest
from .exporting import ExportResult as ExportResult
from .exporting import export_samples as export_samples
from .folding import FoldResult as FoldResult
from .folding import fold_store as fold_store
from .imported_encoding import ImportRequest as ImportRequest
from .importing import ImportResult as ImportResult
from .importing import import_cache as import_cache
from .layouts.known_layouts import LAYOUTS as LAYOUTS
from .subset import SubsetResult as SubsetResult
from .subset import copy_subset as copy_subset

__all__ = [
    "FORMATS",
    "LAYOUTS",
    "CopyResult",
    "ExportRequest",
    "ExportResult",
    "FoldResult",
    "ImportRequest",
    "ImportResult",
    "SubsetResult",
    "copy_store",
    "copy_subset",
    "export_samples",
    "fold_store",
    "import_cache",
]
