"""Inputs made of others on their way to the encoder: one file each, by name in the fingerprint."""
