"""Refusals are told by kind: all counted, three named, however many there are."""

from collections import Counter

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from latentcache.plan import refused_kinds

CODES = st.sampled_from(["empty", "corrupt"])


@given(st.lists(st.tuples(CODES, st.integers(0, 14)), max_size=60), st.integers(1, 7))
def test_every_refusal_counts_once_and_what_is_held_is_bounded(
    refusals: list[tuple[str, int]], step: int
) -> None:
    rows = [
        {"path": f"{n}.jpg", "member": "", "code": code, "reason": f"it has {'x' * reason}"}
        for n, (code, reason) in enumerate(refusals)
    ]
    tables = [pa.Table.from_pylist(rows[at : at + step]) for at in range(0, len(rows), step)]
    kinds = refused_kinds(tables)
    counts = Counter[str]()
    for each in kinds:
        counts[each["code"]] += each["count"]
        assert 1 <= len(each["examples"]) == min(3, each["count"])
    assert counts == Counter(code for code, _ in refusals)
    assert max(Counter(each["code"] for each in kinds).values(), default=0) <= 11


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=40))
def test_reasons_that_differ_in_their_figures_alone_are_one_line(
    sizes: list[tuple[int, int]],
) -> None:
    rows = [
        {"path": f"{n}.jpg", "member": "", "code": "too_small", "reason": f"{w} x {h / 7:.2f} px"}
        for n, (w, h) in enumerate(sizes)
    ]
    (kind,) = refused_kinds([pa.Table.from_pylist(rows)])
    assert kind["count"] == len(sizes)
    is_one = len({row["reason"] for row in rows}) == 1
    assert kind["reason"] == ("" if is_one else "for instance ") + rows[0]["reason"]
