"""The one door to fsspec: folders of objects, durable writes, create-if-absent."""

from latentcache.storage.ahead import map_ahead
from latentcache.storage.errors import StorageError
from latentcache.storage.exclusive import CreateIfAbsentSupport
from latentcache.storage.folder import Folder
from latentcache.storage.objects import ObjectInfo
from latentcache.storage.retry import RetryPolicy

__all__ = [
    "CreateIfAbsentSupport",
    "Folder",
    "ObjectInfo",
    "RetryPolicy",
    "StorageError",
    "map_ahead",
]
