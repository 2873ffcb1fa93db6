"""Encoded batches of open units: kept, taken up, and shared among encoders."""
