"""How many samples of a column were made of texts or media that are others by now."""

from latentcache.core.errors import ConfigError
from latentcache.core.inputs import recorded_input
from latentcache.runner.roles import role_table
from latentcache.runner.roles.role_table import RoleTable
from latentcache.runner.text import text_source
from latentcache.runner.text.text_source import TextSource
from latentcache.store import EncodingRecord, Store


def num_stale(store: Store, record: EncodingRecord) -> int:
    """Return how many samples another run of the column would encode again for what they are of.

    Files of the samples themselves are an update's concern; of media of roles only those are read
    whose place, size or time is another.

    Args:
        store: The store.
        record: An encoding of texts or of a role; of anything else there are none.
    """
    asked = recorded_input(record.transform)
    try:
        table, texts = RoleTable.newest(store, asked), TextSource.newest(store, asked)
    except ConfigError:  # the annotation is gone
        return 0
    stale = {}
    if table is not None:
        corpus_url = store.generations()[-1].corpus_url
        stale = role_table.stale_rows(store, record, table, corpus_url, is_asked_only=True)
    elif texts is not None:
        stale = text_source.stale_rows(store, record, texts)
    return sum(map(len, stale.values()))
