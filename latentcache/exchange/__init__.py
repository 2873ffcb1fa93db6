"""Coming and going: stores copied whole or in part, exported to other tools, imported."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
