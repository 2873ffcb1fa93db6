"""Keeping the table of a codebook in the store, for whoever trains on the vectors themselves."""

from latentcache.core.errors import ShardCorruptError
from latentcache.runner.encode.actor_pool import ActorPool
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.run_progress import Reporter
from latentcache.store import EncodingRecord, Store, codebook_bytes, has_codebook, write_codebook


def keep_codebook(
    store: Store,
    request: EncodeRequest,
    record: EncodingRecord,
    pool: ActorPool,
    reporter: Reporter,
) -> None:
    """Put the vectors that a column's indices name into the store, once; say where they are not.

    Args:
        store: Where the column goes.
        request: Says how large a table may be.
        record: As it is pinned.
        pool: Has loaded the encoder.
        reporter: Is told.
    """
    num_bytes, most = codebook_bytes(record), request.resources.codebook_mib * 2**20
    if not num_bytes or has_codebook(store.folder, record):
        return
    if num_bytes > most:
        reporter.message(
            f"{record.column}: its codebook's table ({num_bytes / 2**20:,.1f} MiB) is not kept in "
            f"the store, resources.codebook_mib is {request.resources.codebook_mib}; the loader "
            "gives indices"
        )
        return
    table = pool.codebook(record.column)
    if table is None:
        return
    try:
        write_codebook(store.folder, record, table)
    except ShardCorruptError:  # another device's last bits; indices are what they are
        reporter.message(
            f"{record.column}: its codebook's table is not kept in the store: this machine "
            "computes other last bits of it than the one that pinned the encoding"
        )
