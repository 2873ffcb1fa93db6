"""Numbers as a reader wants them: bytes, counts and seconds in a few digits."""

TIMES, SIGMA = "\N{MULTIPLICATION SIGN}", "\N{GREEK SMALL LETTER SIGMA}"

_BYTE_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def format_bytes(num_bytes: float) -> str:
    """Return e.g. ``1.5 GB``; decimal units, as disks and clouds are sold."""
    value, unit = float(num_bytes), 0
    while value >= 999.5 and unit < len(_BYTE_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    digits = 0 if unit == 0 or value >= 99.5 else 1
    return f"{value:.{digits}f} {_BYTE_UNITS[unit]}"


def format_count(count: int) -> str:
    """Return ``12,345``."""
    return f"{count:,}"


def format_share(part: float, whole: float) -> str:
    """Return a percentage; a part that is there never reads as 0 %."""
    if not whole:
        return "0 %"
    percent = 100 * part / whole
    if part and percent < 0.1:
        return "under 0.1 %"
    return f"{percent:.1f} %" if percent < 10 and part else f"{percent:.0f} %"


def format_number(value: float) -> str:
    """Return four significant digits, short."""
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        digits = max(0, 3 - _magnitude(value))
        return f"{value:.{digits}f}"
    return f"{value:.2e}"


def format_seconds(seconds: float) -> str:
    """Return ``8.2 s`` or ``3 min 5 s``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def format_ratio(ratio: float) -> str:
    """Return two significant digits or whole tens: a ratio of timings has no more."""
    if ratio < 9.95:
        return f"{ratio:.1f}"
    return f"{ratio:.0f}" if ratio < 100 else f"{round(ratio, -1):,.0f}"


def _magnitude(value: float) -> int:
    return len(str(int(abs(value)))) - 1 if abs(value) >= 1 else 0
