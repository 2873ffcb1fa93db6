"""Metrics: arithmetic on pixels and latents alone, each from the paper that it names."""
