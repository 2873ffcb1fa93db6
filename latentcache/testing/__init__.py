"""For encoder authors and tests: the encoder contract, fake encoders, drawn media.

Import from its modules: ``contract``, ``fakes``, ``drawn``.
"""

__all__: list[str] = []
