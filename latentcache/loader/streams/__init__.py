"""One bucket of one source, ready to be drawn from: rows in, samples out."""
