"""latentcache: image and video corpora in, sharded latent stores with statistics out.

Names load when first used, so that importing this package takes milliseconds and no torch.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
