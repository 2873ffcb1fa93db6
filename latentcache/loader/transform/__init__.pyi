from .noise import keyed_normal as keyed_normal
from .normalizer import primary_field as primary_field

__all__ = [
    "keyed_normal",
    "primary_field",
]
