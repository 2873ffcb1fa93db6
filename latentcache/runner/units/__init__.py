"""One unit from its rows to its commit."""
