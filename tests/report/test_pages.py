"""Pages: one file, nothing fetched, nothing run."""

import re

import pytest

from latentcache.demo.page.demo_page import demo_page
from latentcache.report.pages import stats_page, tiles_across
from tests.report.pages import demo_facts, store_page, training_facts
from tests.report.parsed_page import parsed

PAGES = [
    pytest.param(lambda: demo_page(demo_facts()), id="demo"),
    pytest.param(lambda: stats_page(store_page()), id="stats"),
]


@pytest.mark.parametrize("draw", PAGES)
def test_page_is_whole_and_fetches_nothing(draw) -> None:
    page = draw()
    structure = parsed(page)
    assert "script" not in {tag for tag, *_ in structure.tags}
    assert structure.links
    assert all(
        link.startswith(("data:image/png;base64,", "data:image/webp;base64,", "#"))
        for link in structure.links
        if link != "compare.html"  # which the demo writes beside its page
    )
    assert not re.search(r"https?://|url\(|@import", page)


def test_contents_lead_to_every_section() -> None:
    page = demo_page(demo_facts())
    structure = parsed(page)
    asked = [link.removeprefix("#") for link in structure.links if link.startswith("#")]
    assert asked == re.findall(r'<section id="([^"]+)">', page)
    assert len(set(asked)) == len(asked) > 10


@pytest.mark.parametrize(("count", "across"), [(4, 4), (5, 5), (6, 3), (7, 4), (9, 5), (10, 5)])
def test_no_tile_stands_alone(count: int, across: int) -> None:
    assert tiles_across(count) == across
    assert count % across != 1


def test_figures_have_captions_and_pictures_have_words() -> None:
    page = demo_page(demo_facts())
    assert page.count("<figure") == page.count("<figcaption")
    assert page.count("<img ") == len(re.findall(r"<img [^>]*alt=\"[^\"]+\"", page))
    assert page.count("<svg ") == len(re.findall(r"<svg [^>]*aria-label=\"[^\"]+\"", page))


def test_sum_that_adds_up_is_spelled_out() -> None:
    text = parsed(demo_page(demo_facts())).prose
    assert "240 encoded + 3 quarantined = 243 planned" in text


def test_sum_that_does_not_add_up_is_not_drawn() -> None:
    facts = store_page()
    object.__setattr__(facts.column, "num_encoded", 239)
    with pytest.raises(AssertionError, match="planned"):
        stats_page(facts)


def test_different_bytes_are_shouted() -> None:
    assert "DIFFERENT" not in demo_page(demo_facts())
    page = demo_page(demo_facts(is_equal=False))
    assert page.count("DIFFERENT") == 3  # two units, one step
    assert "0 of 2 units have the same bytes" in page


def test_training_is_told_in_numbers() -> None:
    text = parsed(demo_page(demo_facts())).prose
    assert "Of 6 samples right are the colour in 6 of 6 (guessing: 1 in 4)." in text
    assert "5 of 6 samples are nearest" in text  # of clips
    assert "off by 0.75" in text
    assert "12 times as fast" in text
    assert "At 2 of 2 steps every run saw the same ids" in text
    assert "under 0.1 % of the time spent waiting" in text


def test_model_that_learned_nothing_is_a_warning() -> None:
    facts = demo_facts()
    num_warnings = demo_page(facts).count('<li class="warn">')
    object.__setattr__(facts, "training", training_facts(num_right=4))
    assert demo_page(facts).count('<li class="warn">') == num_warnings + 1


def test_page_follows_light_and_dark() -> None:
    page = stats_page(store_page())
    assert "prefers-color-scheme: dark" in page
    assert "width=device-width" in page


def test_style_sheet_is_balanced() -> None:
    style = re.search(r"<style>(.*?)</style>", stats_page(store_page()), re.DOTALL)
    assert style is not None
    depth = 0
    for sign in re.findall(r"[{}]", style[1]):
        depth += 1 if sign == "{" else -1
        assert 0 <= depth <= 2
    assert depth == 0
