import json

import pytest

from latentcache.terminal import (
    bytes_text,
    count_text,
    duration_text,
    print_json,
    print_table,
)


def test_json_has_null_where_python_has_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [float("nan"), float("inf"), 1.5], 2: (None, "ü")})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"a": [None, None, 1.5], "2": [None, "ü"]}
    assert "ü" in shown


def test_numbers_stand_right_and_text_left(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "count"), [("a", 1234567), ("long name", None)])
    assert capsys.readouterr().out == (
        "name           count\na          1,234,567\nlong name          -\n"
    )


def test_a_table_without_rows_is_its_header(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [])
    assert capsys.readouterr().out == "a  b\n"


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_340_000, "2.34 MB"), (5e15, "5 PB")],
)
def test_bytes_are_decimal(num_bytes: float, text: str) -> None:
    assert bytes_text(num_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "under 1 s"), (4.2, "4 s"), (600, "10 min"), (7200, "2.0 h"), (864000, "10.0 d")],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_one_sample_is_not_samples() -> None:
    assert (count_text(1, "sample"), count_text(2000, "sample")) == ("1 sample", "2,000 samples")
