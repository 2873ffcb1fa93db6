"""A moved corpus or a broken encoder must not replace a good column by a quarantine."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from latentcache.core.errors import QuarantineLimitError, StoreError
from latentcache.core.fingerprint import fingerprint
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    Resources,
    SilentReporter,
    encode_column,
)
from latentcache.runner.encode.guards import other_pixels
from latentcache.runner.encode.limits import DispatchResult, QuarantineLimit
from latentcache.store import EncodingRecord, Store
from latentcache.testing.drawn import marked_picture
from tests.golden.make_format1 import record_of

Build = Callable[..., EncodeResult]
_FAKES = "latentcache.testing.fakes"


def _result(encoded: int, rejected: int, by_option: int = 0) -> DispatchResult:
    return DispatchResult(
        num_encoded=encoded,
        num_quarantined=rejected + by_option,
        num_by_option=by_option,
        rejects=Counter(corrupt=rejected),
    )


@pytest.mark.parametrize(
    ("result", "is_passed"),
    [
        pytest.param(_result(100, 99), False, id="too-few-to-judge"),
        pytest.param(_result(190, 10), False, id="at-the-limit"),
        pytest.param(_result(189, 11), True, id="past-it"),
        pytest.param(_result(100, 0, by_option=900), False, id="left-out-by-option"),
    ],
)
def test_the_limit_is_a_share_of_what_was_seen(result: DispatchResult, is_passed: bool) -> None:
    assert (QuarantineLimit(share=0.05).passed(result) is not None) == is_passed


def test_samples_refused_while_planning_count() -> None:
    limit = QuarantineLimit(share=0.05, seen_before=100, rejected_before=50)
    sentence = limit.passed(_result(100, 0))
    assert sentence is not None
    assert "got 50 of 200" in sentence


def test_an_encoding_of_other_pixels_is_said_and_of_other_options_not(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    identity = {"encoder": {"name": "dct"}, "policy": "mode"}
    old, new = {"version": 1}, {"version": 2, "libraries": {"resize": "aa", "webp": "bb"}}

    def record(transform: dict[str, object], **others: object) -> EncodingRecord:
        asked = {**identity, **others, "transform": transform}
        return replace(
            record_of("latents"),
            fingerprint=fingerprint(asked),
            identity=asked,
            transform=transform,
        )

    there = store.write_encoding(record(old))
    assert other_pixels(store, there) == ""
    assert other_pixels(store, record(new, policy="sample")) == ""
    said = other_pixels(store, record(new))
    assert there.fingerprint[:12] in said
    assert (
        "resize unknown, version 1, webp unknown there; resize aa, version 2, webp bb here" in said
    )
    assert "use the release and libraries that wrote it" in said
    store.write_encoding(record(new))
    assert other_pixels(store, record(new)) == ""


@pytest.mark.slow
def test_a_moved_corpus_and_a_broken_encoder_leave_the_column_as_it_is(
    build_store: Build, tmp_path: Path
) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    for index in range(210):
        marked_picture(64, 64).save(corpus / f"{index}.png")
    resources = Resources(num_actors=1)
    build_store(corpus, store, f"{_FAKES}:FakeEncoder", resources=resources)
    served = Store.open(store).snapshot().columns["latents"].record.fingerprint

    def swap() -> None:
        options = EncodeOptions(encoder=f"{_FAKES}:NanEncoder", storage_dtype="float32")
        request = EncodeRequest(column="latents", encode=options, resources=resources)
        encode_column(str(store), request, reporter=SilentReporter())

    with pytest.raises(QuarantineLimitError, match=f"still served by encoding {served}"):
        swap()
    corpus.rename(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="corpus must be where it was planned"):
        encode_column(
            str(store),
            EncodeRequest(
                column="latents", encode=EncodeOptions(encoder="dct"), resources=resources
            ),
            reporter=SilentReporter(),
        )
    assert Store.open(store).snapshots() == [1]
    assert Store.open(store).snapshot().columns["latents"].record.fingerprint == served
