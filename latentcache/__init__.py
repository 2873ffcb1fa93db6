"""latentcache: image and video corpora in, sharded latent stores with statistics out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentcache.store import Store

__version__ = "0.1.0"

__all__ = ["__version__", "open_store"]


def open_store(url: str) -> "Store":
    """Return the store at ``url``, a local path or any fsspec URL.

    Raises:
        StoreError: There is no store, or one of another format version.
    """
    from latentcache.store import Store  # noqa: PLC0415  keeps `import latentcache` light

    return Store.open(url)
