"""Columns of embedded texts in a batch: padded, with a mask, dropped to the empty text."""
