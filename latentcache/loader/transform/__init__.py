"""From the encoder's space to the model's: normalizing, tokens, noise, copies to the device."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
