"""Words of a user are shown as they are, on every page, and never become part of it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from latentcache.demo.page.demo_page import demo_page
from latentcache.encoders import list_encoders
from latentcache.evaluate import load_recorded_encoder
from latentcache.plan import annotate
from latentcache.report import choose_gallery, read_gallery, stats_page, store_report
from latentcache.report.gallery import Gallery
from latentcache.store import Snapshot
from tests.evaluate.drawn_store import (
    OPTIONS,
    draw_corpus,
    encode_unit,
    pin_encoding,
    plan_store,
    publish,
)
from tests.report.pages import demo_facts, store_page
from tests.report.parsed_page import parsed

WORDS = st.text(st.sampled_from("<>&\"'/=;#!-{}%x1 \udcff"), min_size=1, max_size=20)
HOSTILE = "<script>alert('1')</script> & {{ 7 * 7 }} \"quotes\" \udcff"
PATH, CAPTION = "<i>&'\"", "<b>bold</b> & </figure>"
NUM_SHOWN = 2
PAGES = [
    pytest.param(demo_page, demo_facts(), id="demo"),
    pytest.param(stats_page, store_page(), id="stats"),
]


@pytest.mark.parametrize(("draw", "facts"), PAGES)
@settings(max_examples=10, deadline=None)
@given(words=WORDS)
@example(words=HOSTILE)
def test_every_word_of_the_facts_is_shown_as_it_is(
    draw: Callable[[Any], str], facts: Any, words: str
) -> None:
    plain, marked = parsed(draw(facts)), parsed(draw(_marked(facts, words)))
    assert marked.tags == plain.tags
    shown = {leaf for leaf in _words_of(facts) if leaf in plain.prose}
    assert len(shown) > 8
    for leaf in shown:
        assert _as_shown(f"{leaf}{words}") in marked.prose


def _marked(facts: Any, words: str) -> Any:
    """Return facts of which every text ends with ``words``."""
    if isinstance(facts, str):
        return f"{facts}{words}"
    if isinstance(facts, tuple):
        return tuple(_marked(one, words) for one in facts)
    if not is_dataclass(facts):
        return facts
    return replace(facts, **{name: _marked(one, words) for name, one in _parts(facts)})


def _words_of(facts: Any) -> Iterator[str]:
    if isinstance(facts, str):
        yield facts
    elif isinstance(facts, tuple):
        for one in facts:
            yield from _words_of(one)
    elif is_dataclass(facts):
        for _, one in _parts(facts):
            yield from _words_of(one)


def _parts(facts: Any) -> list[tuple[str, Any]]:
    """Return the fields of facts, but for the one that chooses among sentences."""
    names = [one.name for one in fields(facts) if one.name != "frames"]
    return [(name, getattr(facts, name)) for name in names]


def _as_shown(words: str) -> str:
    """Return words as a page that is UTF-8 shows them, their spaces as one."""
    return " ".join(words.encode("utf-8", "replace").decode("utf-8").split())


@pytest.fixture(scope="module")
def hostile_store(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Return a store whose folder, samples, captions and quarantine have HTML in their names."""
    folder = tmp_path_factory.mktemp("hostile") / PATH.replace("/", "")
    corpus = draw_corpus(folder / "corpus")
    for path in sorted(corpus.iterdir()):
        path.rename(path.with_name(PATH + path.name))
    store = plan_store(corpus, folder / "store", folder / "scratch")
    record = pin_encoding(store)
    for unit in store.units(record):
        encode_unit(store, record, unit)
    publish(store, record)
    captions = folder / "captions.jsonl"
    names = [path.name for path in corpus.iterdir() if path.suffix != ".txt"]
    lines = [json.dumps({"file_name": name, "caption": CAPTION}) for name in names]
    captions.write_text("\n".join(lines))
    annotate(store, str(captions), OPTIONS)
    return store.snapshot()


@pytest.fixture(scope="module")
def hostile_gallery(hostile_store: Snapshot) -> Gallery:
    encoder = load_recorded_encoder(hostile_store.column("latents").record, device="cpu")
    samples = choose_gallery(hostile_store, "latents", num_samples=NUM_SHOWN)
    return read_gallery(hostile_store, "latents", encoder, samples)


def test_a_store_s_own_words_are_shown_as_they_are(
    hostile_store: Snapshot, hostile_gallery: Gallery
) -> None:
    page = parsed(store_report(hostile_store, "latents", gallery=hostile_gallery))
    assert not {"i", "script"} & {tag for tag, *_ in page.tags}
    assert page.prose.count(f"original: {CAPTION}") == NUM_SHOWN
    assert page.prose.count(f" {PATH}0000") == NUM_SHOWN
    assert f"for instance {PATH}broken_" in page.prose
    assert f"{PATH}/store, snapshot 2." in page.prose


@settings(max_examples=10, deadline=None)
@given(words=WORDS)
@example(words=HOSTILE)
def test_every_word_of_a_gallery_is_shown_as_it_is(
    hostile_store: Snapshot, hostile_gallery: Gallery, words: str
) -> None:
    def draw(end: str) -> Any:
        items = [
            replace(item, **{name: f"{name}{end}" for name in ("title", "source", "key", "size")})
            for item in hostile_gallery.items
        ]
        gallery = Gallery(items=tuple(items), skipped=(f"skipped{end}",))
        encoders = [replace(one, title=f"encoder{end}") for one in list_encoders()]
        page = store_report(
            hostile_store, "latents", gallery=gallery, notes=[f"note{end}"], encoders=encoders
        )
        return parsed(page)

    page = draw(words)
    assert page.tags == draw("").tags
    for leaf in ("title", "source", "key", "size", "skipped", "note", "encoder"):
        assert _as_shown(f"{leaf}{words}") in page.prose
