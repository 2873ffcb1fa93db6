"""From a corpus to a plan: sources, buckets, geometry, shards and rows.

Names load when first used: options are read long before a table is.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
