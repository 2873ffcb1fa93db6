"""A served column keeps its encoder; figures that were wrong are corrected without encoding."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from latentcache.core.errors import ConfigError
from latentcache.core.media import Bucket
from latentcache.runner import EncodeOptions, EncodeRequest, Resources
from latentcache.runner.encode.served import (
    asked_figures,
    check_replaces,
    keep_served,
    same_column,
)
from latentcache.stats import merge_arrays
from latentcache.store import ColumnChange, Published, Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation


class Said:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def message(self, text: str) -> None:
        self.lines.append(text)


def scaled(scale: float, source: str = "config") -> dict[str, Any]:
    return {"ops": [{"op": "multiply", "values": [scale]}], "source": source}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store.create(tmp_path / "store")
    add_generation(made, [(Bucket(1, 64, 64), 8, 8)])
    add_column(made, SyntheticColumn(has_logvar=True, normalizer=scaled(0.18215)))
    return made


def request(*given: str, **options: Any) -> EncodeRequest:
    return EncodeRequest(
        column="latents",
        encode=EncodeOptions(**options),
        resources=Resources(),
        given=frozenset(given),
        may_replace=False,
    )


def serve(store: Store, **spec: Any) -> None:
    """Serve an encoding that says with which options it was made."""
    record = store.snapshot().columns["latents"].record
    made = replace(
        record,
        fingerprint="0123456789abcdef",
        spec={**record.spec, **spec},
        transform={"background": [0, 0, 0]},
        digest="",
    )
    pinned = store.write_encoding(made)
    store.publish([ColumnChange(record=pinned, merge_statistics=merge_arrays)], allow_partial=True)


def test_a_forgotten_encoder_is_the_one_that_serves(store: Store) -> None:
    serve(store, source="sdxl:/weights", compute_dtype="bfloat16")
    said = Said()
    kept = keep_served(store, request("hdr", hdr="refuse"), said).encode  # type: ignore[arg-type]  # enough of one
    assert kept == EncodeOptions(
        encoder="sdxl:/weights",
        policy="moments",
        dtype="bfloat16",
        storage_dtype="float16",
        background=(0, 0, 0),
        hdr="refuse",
    )
    assert said.lines == ["latents: no encoder is named, keeping sdxl:/weights"]


def test_a_named_encoder_is_taken_as_it_is(store: Store) -> None:
    asked = request("encoder", encoder="dct")
    assert keep_served(store, asked, Said()) is asked  # type: ignore[arg-type]  # enough of one


def test_another_encoding_takes_a_columns_name_only_when_asked(store: Store) -> None:
    served = store.snapshot().columns["latents"].record
    other = replace(served, fingerprint="feedfeedfeed", spec={**served.spec, "source": "dct"})
    with pytest.raises(ConfigError, match=r"got dct \(moments\).*serves synthetic.*--replace"):
        check_replaces(store, request(), other)
    check_replaces(store, replace(request(), may_replace=True), other)
    check_replaces(store, replace(request(), column="more"), other)
    check_replaces(store, request(), served)


def test_a_corrected_figure_is_said_and_named_by_the_next_snapshot_alone(store: Store) -> None:
    first = store.snapshot()
    record = first.columns["latents"].record
    said = Said()
    asked = replace(record, normalizer=scaled(0.13025))
    figures = asked_figures(store, asked, record, said)  # type: ignore[arg-type]  # enough of one
    assert "was multiply 0.18215 (config) and is now multiply 0.13025 (config)" in said.lines[0]
    change = ColumnChange(record=record, merge_statistics=merge_arrays, published=figures)
    second = store.publish([change])
    assert second.number == first.number + 1
    entry = second.columns["latents"].entry
    assert replace(entry, published=None) == first.columns["latents"].entry
    reread = Store.open(store.folder.url)
    assert reread.snapshot().columns["latents"].record.normalizer == scaled(0.13025)
    assert reread.snapshot(first.number).columns["latents"].record.normalizer == scaled(0.18215)
    # Asked again: nothing to say and nothing to publish.
    said.lines.clear()
    asked_figures(store, asked, record, said)  # type: ignore[arg-type]  # enough of one
    assert said.lines == []
    assert store.publish([change]).number == second.number
    # Who names no figures keeps those that are served.
    silent = ColumnChange(record=record, merge_statistics=merge_arrays)
    assert store.publish([silent]).number == second.number
    # Back to those of the record: its snapshot needs no word of its own.
    back = Published(normalizer=scaled(0.18215, "preset"), encoder="sd:w")
    third = store.publish([replace(change, published=back)])
    assert third.columns["latents"].entry.published is None


def test_what_another_column_holds_is_named_and_not_encoded_twice(store: Store) -> None:
    served = store.snapshot().columns["latents"].record
    said = Said()
    again = replace(served, column="other", digest="")
    found = same_column(store, again, said)  # type: ignore[arg-type]  # enough of one
    assert found is not None
    assert (found[0], found[1].name) == (1, "latents")
    assert "already there as column latents" in said.lines[0]
    assert same_column(store, replace(again, fingerprint="0" * 32), said) is None  # type: ignore[arg-type]


def test_the_same_latents_with_other_figures_are_a_column_of_their_own(store: Store) -> None:
    said = Said()
    served = store.snapshot().columns["latents"].record
    again = replace(served, column="other", normalizer=scaled(0.13025), digest="")
    assert same_column(store, again, said) is None  # type: ignore[arg-type]  # enough of one
    assert "multiply 0.18215" in said.lines[0]
    assert "multiply 0.13025" in said.lines[0]
