"""diffusion-pipe's: ``.../latents/shard_N.bin``, items of ``torch.save``, found by ``metadata.db``.

Source: tdrussell/diffusion-pipe ``utils/cache.py``: table ``items(shard, shard_index)`` and a table
``shard_N(offset, size)`` for each file; an item is a dict with ``latents`` and ``image_spec``, the
archive (or None) and the name of its source.
"""

import io
import posixpath
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from latentcache.core.errors import MediaError
from latentcache.exchange.layouts.foreign import (
    SAMPLES_PER_RUN,
    Found,
    Reading,
    Unreadable,
    below,
    broken,
    checked,
    sample_of,
)
from latentcache.storage import Folder

_Place = tuple[str, int, int]
"""A shard's file, where an item begins in it, and its size."""


def read_diffusion_pipe(reading: Reading) -> Iterator[Found]:
    """Yield diffusion-pipe's samples, in the order in which its cache has them."""
    for name in reading.names("/metadata.db"):
        folder = posixpath.dirname(name)
        if posixpath.basename(folder) != "latents":
            reading.left_out[f"caches of {posixpath.basename(folder)}"] += 1
            continue
        try:
            places = _places(reading.root, name)
        except (sqlite3.Error, OSError, ValueError) as error:
            yield Unreadable(name, str(broken(name, error)))
            continue
        for number, place in enumerate(places):
            at = f"{folder}/{number:06d}"
            try:
                item = _item(reading.root, place)
            except MediaError as error:
                yield Unreadable(at, str(error))
                continue
            told: dict[str, Any] = {"run": f"{place[0]}/{number // SAMPLES_PER_RUN}"}
            if isinstance(item.get("caption"), str):
                told["caption"] = item["caption"]
            source = _source(item)
            named = below(source, reading) if source else at
            yield sample_of(
                named,
                partial(_item, reading.root, place),
                partial(_latents, place[0]),
                opened=item,
                is_picture_known=bool(source),
                **told,
            )


def _places(root: Folder, name: str) -> list[_Place]:
    """Return where each item lies.

    Raises:
        ValueError: An item points at none.
    """
    folder = posixpath.dirname(name)
    with (
        _local(root, name) as path,
        closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database,
    ):
        items = database.execute("SELECT shard, shard_index FROM items ORDER BY rowid").fetchall()
        shards = {
            number: database.execute(
                f"SELECT offset, size FROM shard_{int(number)} ORDER BY rowid"
            ).fetchall()
            for number in sorted({int(shard) for shard, _ in items})
        }
    found: list[_Place] = []
    for shard, index in items:
        if not 0 <= int(index) < len(shards[int(shard)]):
            raise ValueError(f"item {len(found)} lies in no shard")
        offset, size = shards[int(shard)][int(index)]
        found.append((f"{folder}/shard_{int(shard)}.bin", int(offset), int(size)))
    return found


@contextmanager
def _local(root: Folder, name: str) -> Iterator[Path]:
    path = root.local_path(name)
    if path is not None:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="latentcache-import-") as folder:
        copy = Path(folder) / "metadata.db"
        copy.write_bytes(root.read(name))
        yield copy


def _item(root: Folder, place: _Place) -> dict[str, Any]:
    name, start, size = place
    try:
        data = root.read(name, start=start, end=start + size)
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  whatever unpickling a foreign file may raise
        raise broken(name, error) from None
    if not isinstance(found, dict):
        raise broken(name, ValueError("an item is no dict"))
    return found


def _source(item: dict[str, Any]) -> str:
    spec = item.get("image_spec")
    is_pair = isinstance(spec, list | tuple) and len(spec) == 2
    return str(spec[1]) if spec is not None and is_pair and spec[1] else ""


def _latents(name: str, item: dict[str, Any]) -> torch.Tensor:
    return checked(item.get("latents"), where=name)
