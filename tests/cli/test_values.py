import click
import pytest

from latentcache.cli.values import AGE, COLOUR, COUNTS, SHARE


@pytest.mark.parametrize(
    ("text", "share"), [("5%", 0.05), ("0.05", 0.05), ("0", 0.0), ("100%", 1.0), ("1", 1.0)]
)
def test_a_share_is_a_number_or_percents(text: str, share: float) -> None:
    assert SHARE.convert(text, None, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "-1%", "120%", "some", "", "nan"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        SHARE.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "colour"), [("1,2,3", (1, 2, 3)), ("#ff8000", (255, 128, 0)), ("FFFFFF", (255,) * 3)]
)
def test_a_colour_is_three_numbers_or_hex(text: str, colour: tuple[int, ...]) -> None:
    assert COLOUR.convert(text, None, None) == colour


@pytest.mark.parametrize("text", ["1,2", "1,2,256", "white", "#fff", "-1,0,0"])
def test_what_is_no_colour_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        COLOUR.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("24h", 86400), ("90min", 5400), ("7d", 604800), ("3", 3), ("0s", 0)]
)
def test_an_age_has_a_unit(text: str, seconds: float) -> None:
    assert AGE.convert(text, None, None) == seconds


def test_what_is_no_age_is_refused() -> None:
    with pytest.raises(click.BadParameter):
        AGE.convert("yesterday", None, None)


@pytest.mark.parametrize(
    ("text", "counts"),
    [("17", (17,)), ("17, 33,81", (17, 33, 81)), ("8k+1", "8k+1"), (" 4K + 1", "4k+1")],
)
def test_counts_are_numbers_or_a_rule(text: str, counts: tuple[int, ...] | str) -> None:
    assert COUNTS.convert(text, None, None) == counts


@pytest.mark.parametrize("text", ["", "0", "17,", "1.5", "-3", "many"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        COUNTS.convert(text, None, None)
