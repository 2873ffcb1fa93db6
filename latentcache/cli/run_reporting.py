"""Who shows a run that was started by a recipe: the terminal or a log, and Prometheus."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from latentcache.terminal import reporting

if TYPE_CHECKING:
    from latentcache.runner import Reporter, Resources


@contextmanager
def run_reporting(store: str, resources: "Resources") -> Iterator["Reporter"]:
    """Yield a reporter on stderr, whose figures also go to ``resources.metrics``."""
    with reporting() as reporter:
        if not resources.metrics:
            yield reporter
            return
        from latentcache.metrics import measured

        with measured(reporter, resources.metrics, store=store) as both:
            yield both
