"""Pixels whatever they come from: the one resizer, curves and primaries, tones, deep values."""
