"""Loaders of latents against each other, on the same latents, in one run: ``python -m`` this."""
