"""Bytes that somebody has changed, in front of every parser of ours: refused, or read as they are.

Each law takes valid bytes, changes them as drawn (bits, cuts, repeats, numbers made huge) and asks
for one of two outcomes: a result, or an error of ours. Whatever else a parser raises, a traceback
would show. Nothing here is kept as a file: inputs are drawn, small and harmless. Parquet tables are
only cut: how Arrow parses bytes that were changed is Arrow's.
"""

import json
import re
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from latentcache.core.errors import ConfigError, LatentCacheError, ShardCorruptError
from latentcache.plan import Listing, PlanOptions, open_corpus
from latentcache.runner import read_recipe
from latentcache.store import Store
from latentcache.store.format import read_meta, read_tensors
from tests.golden import make_format1 as golden
from tests.law_examples import examples
from tests.plan.conftest import tar_bytes

MAX_TAKEN_BYTES = 64 * 2**20
"""Far above what these inputs need, far below what a lying size asks for."""

Edit = Callable[[bytes], bytes]
_PLACE = st.floats(0.0, 1.0)


_NUMBERS = (b"0", b"-1", b"99999999999999999999", b"1e308", b'"x"', b"4294967296")


def _other_number(data: bytes, at: float, size: float) -> bytes:
    numbers = list(re.finditer(rb"\d+", data))
    if not numbers:
        return data
    found = numbers[int(at * (len(numbers) - 1))]
    return data[: found.start()] + _NUMBERS[int(size * 5)] + data[found.end() :]


def _edit(kind: str, at: float, size: float, junk: bytes) -> Edit:
    def edit(data: bytes) -> bytes:
        place = min(int(at * len(data)), max(0, len(data) - 1))
        end = min(len(data), place + 1 + int(size * 64))
        flipped = bytes(each ^ (1 << int(size * 7)) for each in data[place : place + 1])
        return {
            "flip": data[:place] + flipped + data[place + 1 :],
            "cut": data[:place],
            "drop": data[:place] + data[end:],
            "repeat": data[:end] + data[place:],
            "insert": data[:place] + junk + data[place:],
            "number": _other_number(data, at, size),
        }[kind]

    return edit


def check_sentence(error: Exception) -> None:
    assert str(error)
    assert "\n" not in str(error)


EDITS = st.lists(
    st.builds(
        _edit,
        st.sampled_from(["flip", "cut", "drop", "repeat", "insert", "number", "number"]),
        _PLACE,
        _PLACE,
        st.binary(min_size=1, max_size=12) | st.sampled_from([b"[" * 3000, b"../", b"\0", b"-"]),
    ),
    min_size=1,
    max_size=3,
)


def changed(data: bytes, edits: list[Edit]) -> bytes:
    for edit in edits:
        data = edit(data)
    return data


def files_of_the_golden_store() -> list[str]:
    root = golden.GOLDEN
    files = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".parquet")
    return sorted(str(path.relative_to(root)) for path in files)


@pytest.fixture(scope="module")
def copied_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "store"
    shutil.copytree(golden.GOLDEN, folder)
    return folder


def _read_all(folder: Path) -> None:
    """Read everything that a snapshot serves, as a loader or a report would."""
    store = Store.open(folder)
    snapshot = store.snapshot()
    for name in snapshot.columns:
        view = snapshot.column(name)
        for _ in view.iter_samples():
            pass
        view.quarantine()
        view.statistics()
    snapshot.annotation("caption")
    for generation in store.generations():
        store.read_rejects(generation)
        for unit in generation.units(rows_per_unit=2):
            store.read_rows(unit, ["key", "path"])


@given(st.sampled_from(files_of_the_golden_store()), EDITS)
@examples(60)
def test_a_store_with_a_file_changed_is_refused_in_a_sentence_or_read(
    copied_store: Path, name: str, edits: list[Edit]
) -> None:
    path = copied_store / name
    whole = path.read_bytes()
    path.write_bytes(changed(whole, edits))
    try:
        _read_all(copied_store)
    except (LatentCacheError, OSError) as error:
        check_sentence(error)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_plan_table_that_was_cut_is_one_sentence(tmp_path: Path, keep: float) -> None:
    names = [path.relative_to(golden.GOLDEN) for path in golden.GOLDEN.rglob("plan/**/*.parquet")]
    assert names
    for number, name in enumerate(names):
        folder = tmp_path / str(number)  # a process keeps what it has read of a plan
        shutil.copytree(golden.GOLDEN, folder)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: int(keep * len(whole))])
        with pytest.raises(ShardCorruptError, match="plan table must be Parquet") as caught:
            _read_all(folder)
        check_sentence(caught.value)


@given(EDITS)
def test_a_tensor_file_takes_no_more_memory_than_it_has_bytes(edits: list[Edit]) -> None:
    tensors = {"mean": np.zeros((4, 8, 8), np.float32), "z": np.ones(3, np.int32)}
    data = changed(save(tensors), edits)
    tracemalloc.start()
    try:
        for tensor in read_tensors(data, where="here").values():
            assert tensor.data.nbytes <= len(data)
    except LatentCacheError:
        pass
    finally:
        taken = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert taken < MAX_TAKEN_BYTES


@given(EDITS)
def test_a_meta_is_read_or_refused(edits: list[Edit]) -> None:
    path = next(golden.GOLDEN.rglob("meta/00000000*.safetensors"))
    try:
        read_meta(changed(path.read_bytes(), edits), first_row=0, num_rows=4, where=path.name)
    except LatentCacheError as error:
        check_sentence(error)


TAR = tar_bytes(
    [("a.jpg", b"x" * 700), ("a.json", b'{"caption": "one", "n": 3}'), ("b/c.png", b"y" * 10)]
)


def _listed(folder: Path) -> None:
    """List a corpus; what is wrong with a file costs that file, or is one sentence."""
    try:
        listing = Listing(open_corpus(str(folder)), PlanOptions())
        for chunk in listing.chunks(8):
            for media in chunk:
                assert "\0" not in media.source.label
    except (LatentCacheError, OSError) as error:
        check_sentence(error)


@given(EDITS)
def test_a_tar_of_a_corpus_is_listed_or_told(
    tmp_path_factory: pytest.TempPathFactory, edits: list[Edit]
) -> None:
    folder = tmp_path_factory.mktemp("tar")
    (folder / "00000.tar").write_bytes(changed(TAR, edits))
    _listed(folder)
    assert [path.name for path in folder.iterdir()] == ["00000.tar"]


def _manifest(kind: str) -> bytes:
    rows = [{"path": f"{number}.jpg", "caption": "one", "label": number} for number in range(4)]
    if kind == "jsonl":
        return "\n".join(json.dumps(row) for row in rows).encode()
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines).encode()


@given(st.sampled_from(["jsonl", "csv"]), EDITS)
def test_a_manifest_is_listed_or_told(
    tmp_path_factory: pytest.TempPathFactory, kind: str, edits: list[Edit]
) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    (folder / f"rows.{kind}").write_bytes(changed(_manifest(kind), edits))
    _listed(folder)


RECIPE = b"""corpus = "photos"
store = "store"
[plan]
resolution = 256
frames = [1, 17]
[encode]
encoder = "dct"
[resources]
actors = 2
"""


@given(EDITS)
def test_a_recipe_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[Edit]
) -> None:
    path = tmp_path_factory.mktemp("recipe") / "recipe.toml"
    path.write_bytes(changed(RECIPE, edits))
    try:
        read_recipe(path)
    except ConfigError as error:
        check_sentence(error)
