from .coverage import StreamCoverage as StreamCoverage
from .latent_batch import Batch as Batch
from .loader import LatentLoader as LatentLoader
from .loader_options import LoaderOptions as LoaderOptions
from .select.source import Source as Source
from .transform.normalizer import Normalizer as Normalizer

__all__ = [
    "Batch",
    "LatentLoader",
    "LoaderOptions",
    "Normalizer",
    "Source",
    "StreamCoverage",
]
