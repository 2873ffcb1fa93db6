"""Texts for an encoder: read from annotations, each distinct one of a unit encoded once."""
