"""The command line; ``main`` is what the ``latentcache`` script runs."""

from latentcache.cli.entry import main

__all__ = ["main"]
