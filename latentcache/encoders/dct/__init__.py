"""The built-in, weight-free encoders: a block DCT, and one with a causal temporal Haar."""
