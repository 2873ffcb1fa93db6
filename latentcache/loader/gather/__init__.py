"""The bytes of a batch out of many tars at once, into memory that is used again."""
