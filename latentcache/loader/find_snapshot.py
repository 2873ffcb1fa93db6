"""The snapshot that a run goes on with: its own, or where that was retired, one like it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from latentcache.core.errors import ConfigError
from latentcache.loader.select.source import Source
from latentcache.store import Pin, Snapshot, Store


def pins_of_run(
    sources: Sequence[Source], state: Mapping[str, Any], now: Sequence[Pin]
) -> list[Pin]:
    """Return the snapshots with which a run goes on.

    Args:
        sources: Of the run.
        state: Of the run.
        now: What is open: where that is what a user asked for by number, it must do.

    Raises:
        ConfigError: A source asks for another snapshot, or none serves the run's encodings.
    """
    found = []
    for source, theirs, ours in zip(sources, state["sources"], now, strict=True):
        pin = Pin.parse(theirs["pin"])
        if source.snapshot is not None and pin != ours:
            raise ConfigError(
                f"snapshot of source {source.name} must be {pin}, got {ours}; leave the snapshot "
                f"out to resume on the run's, or pass newest=True to move on"
            )
        prefix = f"{source.name}/"
        streams = [name for name in state["streams"] if name.startswith(prefix)]
        known = [int(name.removeprefix(prefix).partition("/")[0]) for name in streams]
        num_generations = 1 + max(known, default=0)
        found.append(find_snapshot(source, pin, state["columns"], num_generations))
    return found


def find_snapshot(
    source: Source, pin: Pin, encodings: Mapping[str, str], num_generations: int
) -> Pin:
    """Return the pin of the snapshot that serves a run's encodings.

    Args:
        source: Of the run.
        pin: Of the snapshot that the run was started on.
        encodings: Fingerprint of each column that the run reads.
        num_generations: That the run knows.

    Raises:
        ConfigError: No snapshot that is kept serves them.
        StoreError: The store is another one.
    """
    store = source.opened_store()
    if pin.number in store.snapshots():
        return pin
    found = list(_serving(store, pin, encodings))
    if not found:
        raise ConfigError(_gone(store, encodings))
    # What was planned since is new to the run: a snapshot without it is nearer.
    exact = [one for one in found if _num_generations(one, encodings) == num_generations]
    return (exact or found)[0].pin


def _serving(store: Store, pin: Pin, encodings: Mapping[str, str]) -> Iterator[Snapshot]:
    for number in sorted(store.snapshots(), key=lambda number: abs(number - pin.number)):
        snapshot = store.snapshot(number)
        served = {name: view.record.fingerprint for name, view in snapshot.columns.items()}
        if all(served.get(name) == digest for name, digest in encodings.items()):
            yield snapshot


def _num_generations(snapshot: Snapshot, encodings: Mapping[str, str]) -> int:
    return min(snapshot.columns[name].entry.num_generations for name in encodings)


def _gone(store: Store, encodings: Mapping[str, str]) -> str:
    kept = ", ".join(map(str, store.snapshots()))
    column, digest = next(iter(encodings.items()))
    label = store.folder.label
    return (
        f"encoding {digest} of column {column} must be in a snapshot that is kept, got none of "
        f"{kept} ({label}); encode it again: latentcache encode {label} --column {column} "
        f"--replace --encoder ..., with the encoder that the run was started with"
    )
