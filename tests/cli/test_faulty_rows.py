"""A manifest whose every row has a fault costs a line per kind of fault, not one per row."""

import json
from collections import Counter
from pathlib import Path

from latentcache.testing.drawn import marked_picture
from tests.cli.conftest import Cli

NUM_ROWS = 5_000


def test_a_manifest_of_nothing_but_faults_is_told_by_kind(cli: Cli, tmp_path: Path) -> None:
    corpus, store = tmp_path / "corpus", tmp_path / "store"
    corpus.mkdir()
    (corpus / "broken.jpg").write_bytes(b"no picture")
    marked_picture(64, 64).save(corpus / "good.png")
    good = (corpus / "good.png").read_bytes()
    kinds = [
        lambda n: {"path": f"absent{n}.png", "caption": "x"},
        lambda n: {"path": f"folder\\absent{n}.png"},
        lambda n: {"path": f"cut{n % 5}.png", "caption": str(n)},
        lambda _: {"path": "broken.jpg"},
        lambda _: {"path": None, "caption": "not downloaded"},
        lambda _: {"path": {"no": "text"}},
        lambda _: ["a", "list"],
        lambda _: None,
        lambda n: {"path": f"../{n}.png"},
    ]
    for n in range(5):
        (corpus / f"cut{n}.png").write_bytes(good[: 20 + n])
    lines = [json.dumps(kinds[n % 9](n)).encode() for n in range(NUM_ROWS)]
    lines[7::9] = [b'{"path": "good.png", '] * len(lines[7::9])
    (corpus / "m.jsonl").write_bytes(b"\n".join(lines))
    planned = cli("plan", corpus / "m.jsonl", store, "--resolution", "64")
    assert planned.code == 3
    assert "a plan must hold samples, got 0 of" in planned.err
    told = planned.out.splitlines()
    assert len(told) < 25, planned.out
    found = cli("status", store, "--json").json["corpus"]
    merged = {each["kind"]: each["count"] for each in found["findings"]}
    refused = sum(each["count"] for each in found["refused"])
    assert merged["rows_merged"] + merged["row_without_medium"] + refused == NUM_ROWS
    assert all(1 <= len(each["examples"]) <= 3 for each in found["refused"])
    assert Counter(line.split()[0] for line in told)["refused:"] == len(found["refused"])
