"""What a run says to Prometheus: named figures, served over HTTP or written into a file."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
