"""Lines on stderr: text for people, or one JSON object a line for programs.

``LATENTCACHE_LOG_FORMAT=json`` asks for the second, in this process and in those that it starts;
``latentcache --log-format json`` sets it.
"""

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from latentcache.core.json_values import finite

VARIABLE = "LATENTCACHE_LOG_FORMAT"


def logs_are_json() -> bool:
    """Whether this process writes JSON lines."""
    return os.environ.get(VARIABLE) == "json"


def json_line(event: str, text: str, *, level: str = "info", **facts: Any) -> str:
    """Return one line: ``time`` (UTC), ``level``, ``event``, ``text``, and facts by their names."""
    when = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    value = {"time": when, "level": level, "event": event, "text": text, **finite(facts)}
    return json.dumps(value, allow_nan=False, default=str)


def say(text: str, *, event: str = "message", level: str = "info", **facts: Any) -> None:
    """Write one line on stderr.

    Args:
        text: What a person reads.
        event: What kind of line it is, for programs.
        level: ``info``, ``warning`` or ``error``.
        facts: For programs alone.
    """
    line = json_line(event, text, level=level, **facts) if logs_are_json() else text
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def say_error(sentence: str, **facts: Any) -> None:
    """Write why something failed."""
    text = sentence if logs_are_json() else f"error: {sentence}"
    say(text, event="error", level="error", **facts)


class _JsonFormatter(logging.Formatter):
    """A record of ``logging`` as one line."""

    def format(self, record: logging.LogRecord) -> str:
        facts: dict[str, Any] = {"logger": record.name, "process": record.process}
        if record.exc_info:
            facts["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        level = record.levelname.lower()
        return json_line("log", record.getMessage(), level=level, **facts)


def log_to_stderr(level: int, stream: TextIO | None = None) -> None:
    """Have this process's logging, and Python's warnings, go to stderr in the chosen form."""
    handler = logging.StreamHandler(stream or sys.stderr)
    as_text = logging.Formatter("%(levelname)s: %(message)s")
    handler.setFormatter(_JsonFormatter() if logs_are_json() else as_text)
    logging.basicConfig(level=level, handlers=[handler])
    if logs_are_json():
        logging.captureWarnings(True)
