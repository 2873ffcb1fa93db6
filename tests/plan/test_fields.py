from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.findings import Findings
from latentcache.plan.corpus.annotation_fields import Noted, annotations_of, plain_value, safe_name
from latentcache.plan.plan_options import PlanOptions
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
    notes = Noted(Findings(), "m.csv")
    found = annotations_of(fields, PlanOptions(), notes)
    assert found == {"caption": "t", "label": 3, "prompt": "p", "text": "x"}
    assert annotations_of(fields, PlanOptions(), notes, leave_out={"cls"}).get("label") is None


def test_of_two_fields_with_one_name_none_is_lost() -> None:
    fields = {"alt": "chosen", "caption": "other", "Caption": "third"}
    found = annotations_of(fields, PlanOptions(caption_column="alt"), Noted(Findings(), "m"))
    assert found == {"caption": "chosen", "given_caption": "other"} | {
        name: value for name, value in found.items() if value == "third"
    }


def test_what_is_not_kept_is_counted_by_column() -> None:
    findings = Findings()
    fields = {
        "caption": 1984,
        "id": 2**64 - 1,
        "box": [1, 2],
        "tags": ["a", None],
        "note": "caf\udce9",
        "score": float("nan"),
        "none": None,
        "nothing": [],
    }
    kept = annotations_of(fields, PlanOptions(), Noted(findings, "m.csv"))
    assert kept == {"caption": "1984", "id": str(2**64 - 1), "tags": ["a"]}
    assert findings.examples == {
        "number_too_large": ["id in m.csv"],
        "field_not_kept": ["box in m.csv"],
        "text_not_utf8": ["note in m.csv"],
    }
