"""What commands and the demo show on a terminal: numbers, tables, JSON, a bar while they wait."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
