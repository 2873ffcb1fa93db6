from .loader import LatentLoader as LatentLoader
from .loader import LoaderOptions as LoaderOptions
from .loader import Source as Source
from .store import open_store as open_store

__version__: str

__all__ = ["LatentLoader", "LoaderOptions", "Source", "__version__", "open_store"]
