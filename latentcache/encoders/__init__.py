"""Encoders: pixels to latents; one file per family, found by name.

Names load when first used, so that importing this package loads no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
