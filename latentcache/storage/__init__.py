"""The one door to fsspec: folders of objects, durable writes, create-if-absent."""

from latentcache.storage.ahead import map_ahead
from latentcache.storage.exclusive import CreateIfAbsentSupport
from latentcache.storage.folder import Folder
from latentcache.storage.objects import TEMPORARY_PREFIX, ObjectInfo
from latentcache.storage.options import (
    Options,
    parse_storage_options,
    process_text,
    refuse_secret_options,
    take_over,
    use_storage_options,
)
from latentcache.storage.retry import RetryPolicy, num_retries
from latentcache.storage.span import FileSpan, ObjectSpan, Progress
from latentcache.storage.storage_errors import StorageError

__all__ = [
    "TEMPORARY_PREFIX",
    "CreateIfAbsentSupport",
    "FileSpan",
    "Folder",
    "ObjectInfo",
    "ObjectSpan",
    "Options",
    "Progress",
    "RetryPolicy",
    "StorageError",
    "map_ahead",
    "num_retries",
    "parse_storage_options",
    "process_text",
    "refuse_secret_options",
    "take_over",
    "use_storage_options",
]
