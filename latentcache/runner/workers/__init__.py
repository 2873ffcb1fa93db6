"""Processes that do the work: Ray's on a cluster or for long runs, our own for small local runs."""
