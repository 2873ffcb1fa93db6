"""Store format 1: plan, units, commits, snapshots; what writes them, reads them, checks them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
