"""Clips: frames decoded, turned upright, made 8-bit sRGB of their bucket's size."""
