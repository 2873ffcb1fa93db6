"""Two ranks, two epochs, micro-batches, a stop in mid-epoch, a validation: in every framework.

One start of two processes for each, of ``framework_runs.py``; what they saw is compared with what
one loader draws alone.
"""

import importlib.util
import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader, Source
from latentcache.store import Store
from latentcache.testing.synthetic import (
    SyntheticColumn,
    add_annotation,
    add_column,
    add_generation,
)
from tests.loader import framework_runs as runs
from tests.loader.forked_ranks import Forks, run_alone

Lines = list[dict[str, Any]]


def make_store(folder: Path) -> None:
    store = Store.create(folder / "store")
    num_rows = runs.NUM_ROWS + runs.NUM_HELD_OUT
    generation = add_generation(store, [(Bucket(1, 64, 64), num_rows, 32)])
    add_annotation(store, generation, "label", lambda _, row: row % 10)
    add_annotation(
        store, generation, "fold", lambda shard, row: int(32 * shard + row < runs.NUM_HELD_OUT)
    )
    add_column(store, SyntheticColumn(has_logvar=True))


def lines_of(name: str, folder: Path, forks: Forks) -> list[Lines]:
    """Return what each rank wrote."""
    script = Path(runs.__file__)
    if name == "ray_train":
        run_alone([str(script), name, str(folder)], folder)
    else:
        forks.run(script, [name, str(folder)], num_ranks=2, folder=folder)
    texts = [(folder / f"{name}.{rank}.jsonl").read_text(encoding="utf-8") for rank in (0, 1)]
    return [[json.loads(line) for line in text.splitlines()] for text in texts]


def of_kind(lines: Lines, kind: str) -> Lines:
    return [line for line in lines if line["kind"] == kind]


def expected(folder: Path, rank: int) -> list[tuple[list[int], list[int]]]:
    """Return the rows and noise of each micro-batch of a rank, without a framework."""
    loader = LatentLoader(
        Source(store=folder / "store", filter="fold == 0", snapshot=1),
        global_batch_size=runs.BATCH,
        micro_batches=runs.MICRO,
        rank=rank,
        world_size=2,
    )
    batches = itertools.islice(loader, runs.LAST * runs.MICRO)
    return [(batch["row"].tolist(), batch["noise_seed"].tolist()) for batch in batches]


NEEDS = {
    "titan": "torch",
    "ddp": "torch",
    "fsdp2": "torch",
    "fabric": "lightning",
    "ray_train": "ray",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.ray if name == "ray_train" else ())
        for name in runs.RUNS
    ],
)
def test_right_in_a_plain_loop_is_right_in_the_framework(
    name: str, framework_forks: Forks, tmp_path: Path
) -> None:
    if importlib.util.find_spec(NEEDS.get(name, name)) is None:
        pytest.skip(f"{name} is not installed; install the extra named frameworks")
    make_store(tmp_path)
    both = lines_of(name, tmp_path, framework_forks)
    trained = [of_kind(lines, "train") for lines in both]
    for rank, lines in enumerate(trained):
        assert [(line["rows"], line["seeds"]) for line in lines] == expected(tmp_path, rank)
        assert len(of_kind(both[rank], "step")) == runs.LAST
    for epoch in range(2):
        part = slice(epoch * runs.PER_EPOCH * runs.MICRO, (epoch + 1) * runs.PER_EPOCH * runs.MICRO)
        rows = [row for lines in trained for line in lines[part] for row in line["rows"]]
        assert set(Counter(rows).values()) == {1}
        assert len(rows) == runs.NUM_ROWS
    passes: dict[str, list[tuple[int, int]]] = {}
    for line in (line for lines in both for line in of_kind(lines, "val")):
        pairs = zip(line["rows"], line["seeds"], strict=True)
        passes.setdefault(line["when"], []).extend(pairs)
    assert len(passes) >= 3
    first, *others = (sorted(one) for one in passes.values())
    for one in others:
        assert one == first
    assert len({row for row, _ in first}) == len(first) == runs.NUM_HELD_OUT
    for lines in both:
        check_the_rest(name, lines)


def check_the_rest(name: str, lines: Lines) -> None:
    """Check what only some frameworks have."""
    errors = [line["text"] for line in of_kind(lines, "error")]
    if name == "lightning":
        reloaded = [line["seeds"] for line in of_kind(lines, "reloaded")]
        assert len({tuple(seeds) for seeds in reloaded}) == 2 * runs.PER_EPOCH * runs.MICRO
        overfit = [line["seeds"] for line in of_kind(lines, "overfit")]
        assert overfit == [overfit[0]] * 3
        assert "batches of an epoch must be whole steps of 2, got 5" in errors[0]
        assert "accumulate_grad_batches must be the loader's micro_batches, 2" in errors[1]
    elif name == "transformers":
        assert "gradient_accumulation_steps must be the loader's micro_batches, 2" in errors[0]
        assert "loader must be iterated, got an index" in errors[1]
