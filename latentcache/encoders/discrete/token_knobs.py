"""Knobs of tokenizers: none yet, so that a misspelt one is refused like any other."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenKnobs:
    """What a user may set of a tokenizer: nothing."""
