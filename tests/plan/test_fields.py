from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.plan.fields import annotations_of, plain_value, safe_name
from latentcache.plan.options import PlanOptions
from latentcache.store.format.object_names import checked_column


@given(st.text())
def test_every_name_becomes_one_that_the_store_takes(name: str) -> None:
    assert checked_column(safe_name(name)) == safe_name(safe_name(name)) or "given" in name


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Score", "score"), ("a b-c", "a_b_c"), ("7", "field_7"), ("", "field"), ("row", "given_row")],
)
def test_names_stay_close_to_the_given_ones(name: str, expected: str) -> None:
    assert safe_name(name) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\ud800b", "a?b"),
        (True, True),
        (2**70, str(2**70)),
        (float("nan"), None),
        (float("inf"), None),
        (["a", "b"], ["a", "b"]),
        (["a", 1], None),
        ([], None),
        ({"a": 1}, None),
        (b"x", None),
        (date(2026, 1, 2), "2026-01-02"),
        (None, None),
    ],
)
def test_values_are_kept_if_a_column_can_hold_them(value: Any, expected: Any) -> None:
    assert plain_value(value) == expected


def test_caption_and_label_have_one_name() -> None:
    fields = {"prompt": "p", "text": "t", "cls": 3, "TEXT": "x"}
    found = annotations_of(fields, PlanOptions())
    assert found == {"caption": "t", "label": 3, "prompt": "p", "text": "x"}
    assert annotations_of(fields, PlanOptions(), leave_out={"cls"}).get("label") is None
