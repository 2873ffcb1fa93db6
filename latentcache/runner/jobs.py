"""The jobs of the first user: plan, encode, build; each one call that starts and ends Ray."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from latentcache.core.errors import RunError
from latentcache.encoders import check_encoder_name
from latentcache.plan import look_into, open_corpus
from latentcache.runner.cluster import ClusterFacts, connected
from latentcache.runner.encode.column_run import EncodeResult, encode_into, loaded_pool
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.planning import PlanRequest, PlanResult, plan_into
from latentcache.runner.run_options import Resources
from latentcache.runner.run_progress import Reporter
from latentcache.store import Store


class RunStoppedError(RunError):
    """The user stopped the run; what it committed is kept."""


def plan_corpus(store_url: str, request: PlanRequest, *, reporter: Reporter) -> PlanResult:
    """Plan a corpus into the store, or find that it is planned; see ``plan_into``."""
    _look_into(request)  # a wrong path leaves no empty store
    store = Store.open_or_create(store_url)
    with run_connected(request.resources) as facts:
        return plan_into(store, request, facts=facts, reporter=reporter)


def encode_column(store_url: str, request: EncodeRequest, *, reporter: Reporter) -> EncodeResult:
    """Encode one column of a planned store and publish it; see ``encode_into``."""
    check_encoder_name(request.encode.encoder)
    store = Store.open(store_url)
    with (
        run_connected(request.resources) as facts,
        loaded_pool(store, request, facts) as pool,
    ):
        return encode_into(store, request, pool=pool, reporter=reporter)


def build(
    store_url: str, plan: PlanRequest, encode: EncodeRequest, *, reporter: Reporter
) -> tuple[PlanResult, EncodeResult]:
    """Plan, encode and publish: the main job. What is there already is not done again.

    The encoder is loaded first: a wrong path must not cost a scan.
    """
    # A wrong path or name leaves no empty store, and waits for no cluster.
    _look_into(plan)
    check_encoder_name(encode.encode.encoder)
    store = Store.open_or_create(store_url)
    with (
        run_connected(encode.resources) as facts,
        loaded_pool(store, encode, facts) as pool,
    ):
        planned = plan_into(store, plan, facts=facts, reporter=reporter)
        return planned, encode_into(store, encode, pool=pool, reporter=reporter)


def _look_into(request: PlanRequest) -> None:
    look_into(open_corpus(request.corpus_url, request.corpus_kind), request.options)


@contextmanager
def run_connected(resources: Resources) -> Iterator[ClusterFacts]:
    """Yield a connected cluster; Ctrl-C and SIGTERM end it at once with a sentence."""
    try:
        # Again inside: ray.init installs a handler of its own, which aborts the process.
        with (
            _sigterm_as_interrupt(),
            connected(resources.address) as facts,
            _sigterm_as_interrupt(),
        ):
            yield facts
    except KeyboardInterrupt:
        raise RunStoppedError(
            "stopped; every unit that was committed is kept, run the same command again to go on"
        ) from None


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM, as schedulers and ``ray job stop`` send it, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
