"""Where a run's metrics go: an address that Prometheus scrapes, or a file for node_exporter."""

from dataclasses import dataclass
from pathlib import Path

from latentcache.core.errors import ConfigError

LOOPBACK = "127.0.0.1"
SUFFIX = ".prom"
"""Of a file: what node_exporter's textfile collector reads."""


@dataclass(frozen=True, slots=True)
class MetricsTarget:
    """One of both.

    Attributes:
        host: To listen on; "" for a file.
        port: 1 to 65535; 0 for a file.
        path: Of the file; None for an address.
    """

    host: str = ""
    port: int = 0
    path: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "MetricsTarget | None":
        """Return what ``PORT``, ``HOST:PORT`` or ``FILE.prom`` means; None for "".

        A port alone is this machine's only: metrics name the store, and nobody is asked who
        reads them.

        Raises:
            ConfigError: It is none of these.
        """
        if not text:
            return None
        if text.endswith(SUFFIX) and text != SUFFIX:
            return cls(path=Path(text))
        host, _, port = text.rpartition(":")
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16) or "/" in host:
            raise ConfigError(
                f"metrics must be PORT, HOST:PORT or FILE{SUFFIX}, got {text!r}; give for instance "
                f"9400, which only this machine sees, or /var/lib/node_exporter/build{SUFFIX}"
            )
        return cls(host=host.strip("[]") or LOOPBACK, port=int(port))
