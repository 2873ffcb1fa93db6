"""Which samples a run trains on: sources, filters, splits, and the bitmaps they resolve to."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
