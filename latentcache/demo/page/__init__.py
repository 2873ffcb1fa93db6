"""The demo's page: what any store's page shows, and what is the demo's own."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
