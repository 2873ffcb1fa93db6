"""A unit's meta says everything about its rows, in bytes that depend on nothing else."""

import json

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import ShardCorruptError
from latentcache.core.rejects import Reject, RejectCode
from latentcache.store.format.tensor_file import write_tensors
from latentcache.store.format.tensors import as_tensor_bytes
from latentcache.store.format.unit_meta import FixedLayout, UnitMeta, meta_bytes, read_meta

LAYOUT = FixedLayout(first_payload=600, stride=1536, payload_bytes=888)
WORDS = [code.word for code in RejectCode if code is not RejectCode.NONE]


def make_meta(states: list[str], *, first_row: int = 0, **changes: object) -> UnitMeta:
    """Return the meta of rows that are present ("") or rejected (their code)."""
    rejects = [
        (first_row + row, Reject(code=code, stage="decode", reason=f"über {row}"))
        for row, code in enumerate(states)
        if code
    ]
    present = np.array([not code for code in states])
    codes = np.zeros(len(states), np.uint8)
    for row, reject in rejects:
        codes[row - first_row] = reject.number
    values: dict[str, object] = {
        "first_row": first_row,
        "present": present,
        "reject_code": codes,
        "source_digest": np.arange(16 * len(states), dtype=np.uint8).reshape(-1, 16),
        "rejects": rejects,
        "layout": LAYOUT if present.any() else None,
        "statistics": {"mean.first.mean": np.linspace(0, 1, 5), "count": np.array(3, np.int64)},
    }
    return UnitMeta(**{**values, **changes})


@given(
    states=st.lists(st.sampled_from(["", "", *WORDS]), min_size=1, max_size=12),
    first_row=st.sampled_from([0, 8, 4096]),
)
def test_a_meta_comes_back_as_it_was(states: list[str], first_row: int) -> None:
    meta = make_meta(states, first_row=first_row)
    data = meta_bytes(meta)
    again = read_meta(data, first_row=first_row, num_rows=len(states), where="t")
    np.testing.assert_array_equal(again.present, meta.present)
    np.testing.assert_array_equal(again.source_digest, meta.source_digest)
    assert again.rejects == tuple(meta.rejects)
    assert again.layout == meta.layout
    assert again.statistics.keys() == meta.statistics.keys()
    for name, array in meta.statistics.items():
        assert again.statistics[name].dtype == array.dtype
        np.testing.assert_array_equal(again.statistics[name], array)
    assert meta_bytes(again) == data
    for row, code in enumerate(states, first_row):
        assert (again.slot_of(row) is None) == bool(code)
        reject = again.reject_of(row)
        assert (reject.code if reject else "") == code


def test_bytes_do_not_depend_on_the_order_of_what_was_given() -> None:
    meta = make_meta(["", "truncated", "", "bomb"])
    statistics = dict(reversed(meta.statistics.items()))
    shuffled = make_meta(
        ["", "truncated", "", "bomb"], rejects=meta.rejects[::-1], statistics=statistics
    )
    assert meta_bytes(shuffled) == meta_bytes(meta)


def test_the_safetensors_library_reads_it() -> None:
    loaded = safetensors.numpy.load(meta_bytes(make_meta(["", "timed_out"])))
    assert loaded["present"].tolist() == [1, 0]
    assert loaded["reject_code"].tolist() == [0, RejectCode.TIMED_OUT]
    assert loaded["layout"].tolist() == [600, 1536, 888]
    assert loaded["stats.count"] == 3
    (reject,) = json.loads(loaded["rejects_json"].tobytes())
    assert reject == {
        "row": 1,
        "code": "timed_out",
        "stage": "decode",
        "reason": "über 1",
        "is_transient": False,
        "trace_digest": "",
    }


def tamper(meta: UnitMeta, **changes: np.ndarray) -> bytes:
    arrays = {**safetensors.numpy.load(meta_bytes(meta)), **changes}
    return write_tensors(as_tensor_bytes({k: v for k, v in arrays.items() if v is not None}))


GOOD = make_meta(["", "truncated", ""])


@pytest.mark.parametrize(
    ("data", "what"),
    [
        pytest.param(meta_bytes(GOOD)[:-1], "size must be", id="short"),
        pytest.param(b"", "length must be", id="empty"),
        pytest.param(tamper(GOOD, present=None), "'present' is wrong", id="no-present"),
        pytest.param(tamper(GOOD, present=np.ones(4, np.uint8)), "present uint8", id="rows"),
        pytest.param(tamper(GOOD, present=np.ones(3, np.uint8)), "against reject_code", id="both"),
        pytest.param(
            tamper(GOOD, reject_code=np.array([0, 5, 0], np.uint8)), "rejects_json", id="code"
        ),
        pytest.param(
            tamper(GOOD, rejects_json=np.frombuffer(b"{]", np.uint8)), "is wrong", id="json"
        ),
        pytest.param(
            tamper(GOOD, rejects_json=np.frombuffer(b'[{"row":9}]', np.uint8)), "wrong", id="keys"
        ),
        pytest.param(tamper(GOOD, layout=None), "layout or offsets", id="no-layout"),
        pytest.param(
            tamper(GOOD, layout=None, offsets=np.zeros((3, 2), np.int64)), "offsets", id="offsets"
        ),
    ],
)
def test_a_meta_that_contradicts_itself_is_one_sentence(data: bytes, what: str) -> None:
    with pytest.raises(ShardCorruptError, match=what) as raised:
        read_meta(data, first_row=0, num_rows=3, where="unit t")
    assert "unit t" in str(raised.value)
    assert "\n" not in str(raised.value)
