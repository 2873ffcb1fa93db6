"""The encoding that a run asks for, known before anything of it is written."""

from collections.abc import Callable, Sequence

from latentcache.core.errors import StoreError
from latentcache.core.units import BucketRun
from latentcache.runner.encode.actor_pool import ActorPool
from latentcache.runner.encode.pinning import (
    check_buckets,
    encoding_record,
    planned_buckets,
    planned_runs,
    with_former_digest,
)
from latentcache.runner.encode.served import check_replaces
from latentcache.runner.encode_request import EncodeRequest
from latentcache.store import EncodingRecord, Store


def asked_record(
    store: Store,
    request: EncodeRequest,
    pool: ActorPool,
    runs: Sequence[BucketRun],
    *,
    tell: Callable[[str], None],
) -> EncodingRecord:
    """Return the encoding that ``request`` asks for; nothing is written.

    Args:
        store: That may hold it under the fingerprint of an earlier release.
        request: What is asked.
        pool: Its encoders describe themselves once one is loaded.
        runs: Of the whole plan.
        tell: Is told what was found beside the weights that has no effect.

    Raises:
        EncoderError: The encoder cannot be loaded, or refuses a bucket.
        StoreError: It is another encoding than the one that must be worked on.
    """
    pool.wait_until_loaded()
    description = pool.describe(request.column, planned_buckets(runs))
    for note in description.spec["notes"]:
        tell(f"{request.encode.encoder}: {note}")
    check_buckets(description, request.encode)
    asked = encoding_record(request, description, runs)
    if request.expected_fingerprint not in ("", asked.fingerprint):
        raise StoreError(
            f"encoding must be {request.expected_fingerprint}, got {asked.fingerprint} from "
            f"{request.encode.encoder} (column {request.column}); give the encoder and "
            "options that wrote it"
        )
    return with_former_digest(store, asked, description.former_digests)


def loaded_admission(
    store: Store, request: EncodeRequest, pool: ActorPool
) -> Callable[[Sequence[BucketRun]], None]:
    """Return what refuses runs that are not written yet, by asking the loaded encoder.

    The function raises as ``asked_record`` does, and ConfigError where the column must keep
    another encoding.
    """

    def admit(runs: Sequence[BucketRun]) -> None:
        all_runs = [*planned_runs(store.generations()), *runs]
        asked = asked_record(store, request, pool, all_runs, tell=lambda _: None)
        check_replaces(store, request, asked)

    return admit
