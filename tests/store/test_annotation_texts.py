"""Texts read from the file's bytes are those that pyarrow makes of it."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.store.rows.annotation_texts import TextFile, opened_texts

# Many are read at once, apart from each other by the one character that is among these.
TEXTS = st.lists(
    st.none() | st.text(max_size=6) | st.text("a\0é🙂", max_size=6), min_size=1, max_size=30
)


def opened(path: Path, values: list[str | None], kind: pa.DataType, **options) -> TextFile | None:
    schema = pa.schema([pa.field("value", kind)])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema, **options) as writer:
        for start in range(0, len(values), 8):
            array = pa.array(values[start : start + 8], kind)
            writer.write_batch(pa.record_batch([array], schema=schema))
    source = pa.memory_map(str(path))
    reader = pa.ipc.open_file(source)
    source.seek(0)
    return opened_texts(reader, source.read_buffer(), 8)


@settings(max_examples=40, deadline=None)
@given(values=TEXTS, seed=st.integers(0, 100))
def test_rows_in_any_order_have_their_texts(
    tmp_path_factory: pytest.TempPathFactory, values: list[str | None], seed: int
) -> None:
    texts = opened(tmp_path_factory.mktemp("texts") / "values.arrow", values, pa.string())
    assert texts is not None
    for count in (1, 40):
        rows = np.random.default_rng(seed).integers(0, len(values), count)
        assert texts.take(rows) == [values[row] for row in rows.tolist()]
    assert texts.take(np.zeros(0, np.int64)) == []


def test_what_does_not_lie_there_as_text_is_left_alone(tmp_path: Path) -> None:
    many = ["the same words again and again"] * 20
    squeezed = pa.ipc.IpcWriteOptions(compression="zstd")
    assert opened(tmp_path / "a.arrow", many, pa.string(), options=squeezed) is None
    assert opened(tmp_path / "b.arrow", many, pa.large_string()) is None
