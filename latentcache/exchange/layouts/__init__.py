"""Caches of other trainers, one reader each; ``known_layouts`` has the table."""
