from .noise import keyed_normal as keyed_normal
from .noise import noise_seeds as noise_seeds
from .noise import sample_posterior as sample_posterior
from .normalizer import primary_field as primary_field
from .normalizer import resolve_normalizer as resolve_normalizer

__all__ = [
    "keyed_normal",
    "noise_seeds",
    "primary_field",
    "resolve_normalizer",
    "sample_posterior",
]
