"""Evaluation: how faithful stored latents are. Names load when first used (torch, Pillow)."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
