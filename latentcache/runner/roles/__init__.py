"""Media of roles for an encoder: found by an annotation, looked into, grouped by their shape."""
