"""Discrete tokenizers: pictures and clips as indices of a codebook."""
