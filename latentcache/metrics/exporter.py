"""A run's figures for Prometheus: served on an address, or kept in a file that it writes anew."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import HTTPServer
from pathlib import Path
from threading import Lock

from prometheus_client import CollectorRegistry, start_http_server, write_to_textfile
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from latentcache import __version__
from latentcache.core.errors import ConfigError
from latentcache.core.metrics_target import MetricsTarget
from latentcache.metrics.figures import (
    COMMIT_SECONDS,
    FIGURES,
    INFO,
    LAST_LOOK,
    PREFIX,
    STATE,
    STATES,
)
from latentcache.runner import Reporter, RunProgress
from latentcache.storage import Folder

logger = logging.getLogger(__name__)

FILE_EVERY_S = 5.0


@contextmanager
def measured(reporter: Reporter, target: str, *, store: str) -> Iterator[Reporter]:
    """Yield a reporter that passes everything on and lets Prometheus see the figures.

    Args:
        reporter: Of the terminal, or a log.
        target: ``PORT``, ``HOST:PORT`` or ``FILE.prom``; "" for none.
        store: Its path or URL; secrets in it are left out.

    Raises:
        ConfigError: The address or the file cannot be had.
    """
    where = MetricsTarget.parse(target)
    if where is None:
        yield reporter
        return
    figures = RunFigures(store=Folder.open(store).label if store else "")
    registry = CollectorRegistry()
    registry.register(figures)
    measuring = _Measuring(reporter, figures, registry, where.path)
    server = None if where.path else _served(registry, where)
    try:
        measuring.write()
        yield measuring
        figures.state = "done"
    except BaseException:
        figures.state = "failed"
        raise
    finally:
        measuring.write_again()
        if server is not None:
            server.shutdown()
            server.server_close()


def _served(registry: CollectorRegistry, where: MetricsTarget) -> HTTPServer:
    try:
        server, _ = start_http_server(where.port, addr=where.host, registry=registry)
    except OSError as error:
        raise ConfigError(
            f"metrics must have an address that is free, got {where.host}:{where.port} "
            f"({error.strerror or error}); choose another port"
        ) from None
    return server


class RunFigures(Collector):
    """The newest figures of each stage of one run, as Prometheus asks for them.

    Attributes:
        state: One of ``STATES``.
    """

    def __init__(self, *, store: str, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._lock = Lock()
        self._looks: dict[tuple[str, str], RunProgress] = {}
        self._counters: dict[tuple[str, ...], float] = {}
        self._last_s = clock()
        self.state = STATES[0]

    def take(self, progress: RunProgress) -> None:
        """Keep the newest numbers."""
        with self._lock:
            self._looks[progress.stage, progress.column] = progress
            self._last_s = self._clock()

    def collect(self) -> Iterator[Metric]:
        """Yield everything as of now."""
        with self._lock:
            looks, last_s = dict(self._looks), self._last_s
        info = GaugeMetricFamily(INFO, "Which store, and which latentcache.", labels=_INFO_LABELS)
        info.add_metric([self._store, __version__], 1)
        yield info
        state = GaugeMetricFamily(STATE, "1 for the state of the run.", labels=["state"])
        for each in STATES:
            state.add_metric([each], float(each == self.state))
        yield state
        yield GaugeMetricFamily(LAST_LOOK, "When the run last said anything.", value=last_s)
        for figure in FIGURES:
            kind = CounterMetricFamily if figure.kind == "counter" else GaugeMetricFamily
            labels = ["stage", "column", *([figure.label] if figure.label else [])]
            family = kind(f"{PREFIX}{figure.name}", figure.meaning, labels=labels)
            for key, progress in looks.items():
                found = figure.value(progress)
                for of, value in found.items() if isinstance(found, Mapping) else [("", found)]:
                    names = [*key, *([of] if figure.label else [])]
                    family.add_metric(names, self._grown(figure.kind, family.name, names, value))
            yield family
        yield _commits(looks)

    def _grown(self, kind: str, name: str, labels: list[str], value: float) -> float:
        """Return ``value``; of a counter never less than before: less would read as a restart."""
        if kind != "counter":
            return value
        key = (name, *labels)
        with self._lock:
            self._counters[key] = max(value, self._counters.get(key, 0.0))
            return self._counters[key]


_INFO_LABELS = ("store", "version")


def _commits(looks: Mapping[tuple[str, str], RunProgress]) -> Metric:
    family = HistogramMetricFamily(
        COMMIT_SECONDS,
        "How long commits took, from the end of a tar until its commit is there.",
        labels=["stage", "column"],
    )
    for key, progress in looks.items():
        times = progress.times
        if times.commits_within_s:
            within = [(limit.replace("inf", "+Inf"), count)
                      for limit, count in times.commits_within_s.items()]  # fmt: skip
            family.add_metric(key, within, sum_value=times.commit_s * times.num_commits)
    return family


class _Measuring:
    """Passes on what a run says, and keeps its figures."""

    def __init__(
        self,
        reporter: Reporter,
        figures: RunFigures,
        registry: CollectorRegistry,
        path: Path | None,
    ) -> None:
        self._reporter, self._figures = reporter, figures
        self._registry, self._path = registry, path
        self._next_s = 0.0

    def message(self, text: str) -> None:
        """Pass it on."""
        self._reporter.message(text)

    def update(self, progress: RunProgress) -> None:
        """Keep the figures and pass them on."""
        self._figures.take(progress)
        if self._path is not None and time.monotonic() >= self._next_s:
            self.write_again()
        self._reporter.update(progress)

    def write_again(self) -> None:
        """Write the file anew; a run does not end because its metrics have no room."""
        try:
            self.write()
        except ConfigError as error:
            logger.warning("%s; the run goes on without", error)

    def write(self) -> None:
        """Write the file anew, if there is one: a reader sees the old one or the new one.

        Raises:
            ConfigError: It cannot be written.
        """
        if self._path is None:
            return
        self._next_s = time.monotonic() + FILE_EVERY_S
        try:
            write_to_textfile(str(self._path), self._registry)
        except OSError as error:
            raise ConfigError(
                f"metrics must go to a file that can be written, got {self._path} "
                f"({error.strerror or error}); name one in a folder that is there"
            ) from None
