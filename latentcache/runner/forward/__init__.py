"""Pixels through an encoder, and what comes out of it."""
