"""The only package that knows Ray: it joins the stages into jobs.

Names load when first used: Ray and torch take seconds, and a recipe needs neither.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
