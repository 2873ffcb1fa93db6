"""Corpora: folders, tars and manifests, and everything they list."""
