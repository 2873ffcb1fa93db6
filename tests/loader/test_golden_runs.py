"""A run that an older version started goes on: same rows, draws and latents.

tests/golden/runs1 is a store, and runs over it that the version of 2026-11-22 started: their
options, a state after five steps, and what that version gave in the twenty steps after.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from latentcache.loader import LatentLoader, LoaderOptions, Source

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "runs1"
RUNS: dict[str, Any] = json.loads((GOLDEN / "runs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", RUNS)
def test_a_run_of_an_older_version_goes_on_as_it_would_have(name: str) -> None:
    run = RUNS[name]
    sources = [Source(store=GOLDEN / "store", **source) for source in run["sources"]]
    loader = LatentLoader(
        sources,
        columns=["latents", "caption"],
        global_batch_size=run["global_batch_size"],
        seed=7,
        options=LoaderOptions(**run["options"]),
    )
    loader.load_state_dict(run["state"])
    for expected, batch in zip(run["after"], loader, strict=False):
        assert batch["row"].tolist() == expected["row"]
        assert batch["noise_seed"].tolist() == expected["noise_seed"]
        assert list(batch["caption"]) == expected["caption"]
        sums = batch["latents"].double().flatten(1).sum(1).tolist()
        assert sums == pytest.approx(expected["latents"], abs=2e-3)
