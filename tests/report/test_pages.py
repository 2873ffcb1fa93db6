"""Pages: one file, nothing fetched, nothing run, every word escaped."""

import re
from html.parser import HTMLParser

import pytest

from latentcache.demo.page.demo_page import demo_page
from latentcache.report.markup import _VOID
from latentcache.report.pages import stats_page
from latentcache.report.sections import tiles_across
from tests.report.pages import HOSTILE, demo_facts, store_page, training_facts

PAGES = [
    pytest.param(lambda: demo_page(demo_facts()), id="demo"),
    pytest.param(lambda: stats_page(store_page()), id="stats"),
]


class _Structure(HTMLParser):
    """Checks that tags nest, and keeps what is referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def _parsed(page: str) -> _Structure:
    structure = _Structure()
    structure.feed(page)
    structure.close()
    assert structure.open == []
    return structure


@pytest.mark.parametrize("draw", PAGES)
def test_page_is_whole_and_fetches_nothing(draw) -> None:
    page = draw()
    structure = _parsed(page)
    assert "script" not in structure.tags
    assert structure.links
    assert all(
        link.startswith(("data:image/png;base64,", "data:image/webp;base64,", "#"))
        for link in structure.links
    )
    assert not re.search(r"https?://|url\(|@import", page)


def test_contents_lead_to_every_section() -> None:
    page = demo_page(demo_facts())
    structure = _parsed(page)
    asked = [link.removeprefix("#") for link in structure.links if link.startswith("#")]
    assert asked == re.findall(r'<section id="([^"]+)">', page)
    assert len(set(asked)) == len(asked) > 10


@pytest.mark.parametrize(("count", "across"), [(4, 4), (5, 5), (6, 3), (7, 4), (9, 5), (10, 5)])
def test_no_tile_stands_alone(count: int, across: int) -> None:
    assert tiles_across(count) == across
    assert count % across != 1


def test_hostile_words_stay_words() -> None:
    page = demo_page(demo_facts(HOSTILE))
    page.encode("utf-8")
    structure = _parsed(page)
    assert "script" not in structure.tags
    assert any("<script>alert" in text for text in structure.text)


def test_figures_have_captions_and_pictures_have_words() -> None:
    page = demo_page(demo_facts())
    assert page.count("<figure") == page.count("<figcaption")
    assert page.count("<img ") == len(re.findall(r"<img [^>]*alt=\"[^\"]+\"", page))
    assert page.count("<svg ") == len(re.findall(r"<svg [^>]*aria-label=\"[^\"]+\"", page))


def test_sum_that_adds_up_is_spelled_out() -> None:
    text = " ".join(" ".join(_parsed(demo_page(demo_facts())).text).split())
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
    text = " ".join(" ".join(_parsed(demo_page(demo_facts())).text).split())
    assert "5 of 6 samples are nearest" in text
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
