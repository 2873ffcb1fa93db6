from pathlib import Path

import numpy as np
import pytest

from latentcache.store import Store
from tests.cli.conftest import Cli
from tests.evaluate.drawn_store import NUM_GOOD


def test_the_statistics_are_those_of_the_stored_values(cli: Cli, drawn_store: Store) -> None:
    shown = cli("stats", drawn_store.folder.url, "--json").json
    view = drawn_store.snapshot().column("latents")
    stored = [
        np.asarray(fields["z"], np.float64).reshape(fields["z"].shape[0], -1)
        for _, _, _, fields in view.iter_samples()
    ]
    values = np.concatenate(stored, axis=1)
    found = shown["latents"]
    assert found["samples"] == NUM_GOOD
    assert found["count"] == values.shape[1]
    for name, expected in (
        ("mean", values.mean(axis=1)),
        ("std", values.std(axis=1)),
        ("min", values.min(axis=1)),
        ("max", values.max(axis=1)),
    ):
        assert found[name] == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-12)


def test_the_table_has_a_row_per_channel(cli: Cli, drawn_store: Store) -> None:
    done = cli("stats", drawn_store.folder.url)
    assert done.code == 0
    rows = [line for line in done.out.splitlines() if line.startswith("all ")]
    assert len(rows) == 16
    assert "encoding " in done.out.splitlines()[0]


def test_a_store_without_a_snapshot_says_so(cli: Cli, tmp_path: object) -> None:
    Store.create(f"{tmp_path}/store")
    done = cli("stats", f"{tmp_path}/store")
    assert done.code == 1
    assert "store must have a snapshot" in done.err


def test_the_page_shows_the_column(cli: Cli, drawn_store: Store, tmp_path: Path) -> None:
    page = tmp_path / "stats.html"
    done = cli("stats", drawn_store.folder.url, "--html", str(page))
    assert done.code == 0
    assert done.out.splitlines()[-1] == f"{page}: a page of latents, snapshot 1"
    text = page.read_text(encoding="utf-8")
    assert text.count('class="name">c') == 16
    assert f"{NUM_GOOD}</b> <small>encoded" in text
