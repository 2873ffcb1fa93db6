"""Pixels for an encoder: decode tasks, ahead of it and within a budget of bytes."""
