"""Versions of what computes, as every commit records them; imports none of it."""

from importlib.metadata import PackageNotFoundError, version

RECORDED = ("latentcache", "torch", "diffusers", "Pillow", "av", "numpy", "ray")


def version_of(name: str) -> str:
    """Return the version of an installed package, or ``absent``."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
