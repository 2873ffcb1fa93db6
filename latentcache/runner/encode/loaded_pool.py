"""The encode actors of a run, loaded and ended."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from latentcache.core.errors import EncoderError
from latentcache.decode import ImageLimits
from latentcache.runner.encode.actor_pool import ActorPool
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.messages.actor_setup import ActorSetup, ColumnSetup
from latentcache.runner.messages.calls import ClusterFacts, Workers
from latentcache.runner.run_options import Resources
from latentcache.storage import process_text
from latentcache.store import Store


@contextmanager
def loaded_pool(
    store: Store, requests: Sequence[EncodeRequest], workers: Workers
) -> Iterator[ActorPool]:
    """Yield encode actors, on a cluster once one has loaded its encoders; end them afterwards.

    Args:
        store: Where the columns go.
        requests: One a column; all run with the resources of the first.
        workers: Start the actors.

    Raises:
        EncoderError: An encoder cannot be loaded.
    """
    resources, facts = requests[0].resources, workers.facts
    device = choose_run_device(resources, facts)
    wanted = resources.num_actors or (
        facts.num_gpus if device == "cuda" else facts.num_cpus // resources.threads
    )
    setup = ActorSetup(
        store_url=store.folder.url,
        columns=tuple(
            ColumnSetup(
                column=each.column,
                encode=each.encode.for_workers(),
                kept_url=kept_url(store, each),
            )
            for each in requests
        ),
        device=device,
        threads=resources.threads,
        budget_bytes=facts.budget_bytes(max(1, wanted)),
        limits=ImageLimits(max_pixels=resources.max_image_pixels),
        time_limit_s=resources.time_limit_s,
        scratch=resources.scratch,
        keep_every_s=resources.keep_every_s,
        storage_options=process_text(),
    )
    pool = ActorPool(setup, resources, workers)
    try:
        pool.start()
        if workers.waits_for_encoder:  # a wrong encoder must not cost a long scan
            pool.wait_until_loaded()
        yield pool
    finally:
        pool.stop()
        for column in setup.columns:
            remove_if_empty(column.kept_url)


def remove_if_empty(kept_url: str) -> None:
    """Remove a local folder of kept batches, and the one above it, where nothing is left in it."""
    if "://" in kept_url:
        return
    for folder in (Path(kept_url), Path(kept_url).parent):
        try:
            folder.rmdir()
        except OSError:  # not empty, or not there
            return


def kept_url(store: Store, request: EncodeRequest) -> str:
    """Return where encoded batches of open units are kept, one folder a column."""
    if store.folder.is_local or request.resources.keep == "store":
        return f"{store.folder.url.rstrip('/')}/open/{request.column}"
    scratch = request.resources.scratch or tempfile.gettempdir()
    return f"{scratch}/latentcache-open/{store.store_id}/{request.column}"


def choose_run_device(resources: Resources, facts: ClusterFacts) -> str:
    """Return ``cuda`` where the run has GPUs and is not told otherwise."""
    if resources.device == "cuda" and not facts.num_gpus:
        raise EncoderError(
            f"device must be one the cluster has, got cuda with {facts.num_gpus} GPUs in "
            f"{facts.num_nodes} nodes; use --device cpu"
        )
    if resources.device != "auto":
        return resources.device
    return "cuda" if facts.num_gpus else "cpu"
