"""Bytes to pixels: the home of the codecs. Importing this package loads none."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
