"""How a count of things is written for people."""


def count_text(number: int, what: str) -> str:
    """Return ``1 sample`` or ``2,000 samples``."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
