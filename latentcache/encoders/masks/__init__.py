"""Masks on the grid of a column of latents, which a loss is weighted by."""
