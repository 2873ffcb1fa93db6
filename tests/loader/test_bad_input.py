"""What a person gets wrong costs one sentence, at the start, and never a wrong batch."""

import copy
import itertools
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from latentcache.core.errors import ConfigError, LatentCacheError
from latentcache.loader import Batch, LatentLoader, LoaderOptions, Source
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation
from tests.loader.conftest import LATENTS, SQUARE, WIDE, make_store

NAN, INF = float("nan"), float("inf")


def refused(make: Callable[[], Any]) -> str:
    """Return the sentence, which must be one: short, lower case, no full stop, with a way out."""
    with pytest.raises(LatentCacheError) as caught:
        make()
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    assert sentence[0].islower()
    return sentence


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        pytest.param(
            {"global_batch_size": 250, "rank": 0, "world_size": 8, "micro_batches": 4},
            "global batch 250 does not divide by 8 ranks x 4 micro-batches (bucket 1x64x64); "
            "use 256",
            id="not-divisible",
        ),
        ({"global_batch_size": 9, "rank": 0, "world_size": 2}, "by 2 ranks (bucket 1x64x64); use"),
        ({"global_batch_size": None}, "global_batch_size or as tokens_per_rank, got None and None"),
        ({"tokens_per_rank": 64}, "global_batch_size or as tokens_per_rank, got 8 and 64"),
        ({"global_batch_size": 0}, "global_batch_size must be a whole number of at least 1, got 0"),
        ({"global_batch_size": -8}, "global_batch_size must be a whole number of at least 1, got"),
        ({"global_batch_size": 8.0}, "at least 1, got 8.0; pass it as an int"),
        ({"global_batch_size": "8"}, "at least 1, got '8'; pass it as an int"),
        ({"global_batch_size": True}, "at least 1, got True"),
        (
            {"global_batch_size": {"512": 8}},
            "must name buckets as TxHxW or as width x height, or default, got '512'",
        ),
        ({"global_batch_size": {"1x64x64": 8}}, "got none for 1x32x96 (has 1x64x64); add it"),
        ({"global_batch_size": {"1x64x64": -8}}, "global_batch_size of 1x64x64 must be a whole"),
        ({"global_batch_size": None, "tokens_per_rank": -1}, "tokens_per_rank must be a whole"),
        ({"global_batch_size": None, "tokens_per_rank": 9}, "must hold one sample, got 9 where"),
        ({"micro_batches": 0}, "micro_batches must be a whole number of at least 1, got 0"),
        ({"rank": 1}, "rank and world_size must be given together, got 1 and None"),
        ({"rank": 2, "world_size": 2}, "rank must be 0 to 1, got 2 of 2 ranks"),
        ({"rank": "0", "world_size": "2"}, "world_size must be a whole number of at least 1, got"),
        ({"rank": 0, "world_size": 0}, "world_size must be a whole number of at least 1, got 0"),
        ({"seed": None}, "seed must be a whole number, got None"),
        ({"seed": 2**127}, "seed must fit into 128 bits"),
        ({"columns": "latents"}, "columns must be a list of names, got 'latents'; write for"),
        ({"columns": []}, "columns must be a list of names, got []"),
        ({"columns": ["latent"]}, "must hold one that is encoded (dino, latents), got latent"),
        ({"columns": ["caption"]}, "must hold one that is encoded (dino, latents), got caption"),
        ({"columns": ["latents", "text"]}, "or plan values (original_size, resized_size, crop"),
        ({"device": "quda"}, "device must be one of this machine's, got 'quda'"),
        ({"device": "xpu:3"}, "device must be one of this machine's, got 'xpu:3'"),
        ({"normalize": None}, "normalize must be True, False, a mode or a list of operations"),
        ({"normalize": "mean"}, "normalize must be auto, published, measured"),
        ({"normalize": "published"}, "whose encoder publishes nothing; use measured"),
        ({"normalize": [{"op": "whiten"}]}, "op must be subtract, divide"),
        ({"normalize": [{"values": [1.0]}]}, "op must be subtract, divide"),
        ({"normalize": [{"op": "divide", "values": [0.0]}]}, "must be finite numbers, not 0"),
        ({"normalize": [{"op": "divide", "values": [NAN]}]}, "must be finite numbers, not 0"),
        ({"normalize": [{"op": "divide"}]}, "values of divide must be finite numbers"),
        ({"normalize": [{"op": "subtract", "values": [1.0, 2.0]}]}, "must be 4 for axis C, got 2"),
        ({"normalize": [{"op": "patchify", "size": 3}]}, "must divide the latent's height and"),
        ({"options": {"posterior": "mode"}}, "options must be LoaderOptions, got {'posterior'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_the_start(
    store: Store, given: dict[str, Any], sentence: str
) -> None:
    options = {"global_batch_size": 8, **given}
    assert sentence in refused(lambda: LatentLoader(store, **options))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"posterior": "mean"}, "posterior must be sample or mode, got 'mean'"),
        ({"patch": (0, 2, 2)}, "patch must be three positive numbers of cells (T, H, W), got"),
        ({"patch": (2, 2)}, "patch must be three positive numbers of cells (T, H, W), got (2, 2)"),
        ({"partitions": 0}, "partitions must be a whole number of at least 1, got 0"),
        ({"partitions": 3}, "global batch 8 does not divide by 3 partitions"),
        ({"window_shards": -1}, "window_shards must be a whole number of at least 0, got -1"),
        ({"window_shards": 2.5}, "window_shards must be a whole number of at least 0, got 2.5"),
    ],
)
def test_options_that_make_no_sense_are_refused_at_the_start(
    store: Store, given: dict[str, Any], sentence: str
) -> None:
    make = lambda: LatentLoader(  # noqa: E731  the options themselves may be refused
        store, global_batch_size=8, options=LoaderOptions(**given)
    )
    assert sentence in refused(make)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"weight": NAN}, "weight must be finite and not negative, got nan"),
        ({"weight": INF}, "weight must be finite and not negative, got inf"),
        ({"weight": -1.0}, "weight must be finite and not negative, got -1.0"),
        ({"weight": 0.0}, "weights must be finite, not negative and not all 0"),
        ({"weight": "1"}, "weight must be a number, got '1'"),
        ({"repeats": 0}, "repeats must be positive, got 0"),
        ({"repeats": NAN}, "repeats must be positive, got nan"),
        ({"repeats": 2, "weight": 1}, "repeats must be 1 beside a weight, got 2"),
        ({"filter": "label == 99"}, "must select a row, got none (source 0, all|label == 99)"),
        ({"filter": "label = 3"}, "filter must be one expression, got 'invalid syntax'"),
        ({"filter": "lable == 3"}, "or annotations (caption, captions, label), got 'lable'"),
        ({"filter": "label == 'cat'"}, "filter must fit the types of its fields"),
        ({"filter": "label + 1"}, "got 'a value of type int64 and no comparison'"),
        ({"filter": "open('x')"}, "filter must be comparisons joined by and, or, not"),
        ({"filter": None}, "filter must be text, got None"),
        ({"split": "test"}, "split must be all, train or val, got 'test'"),
        ({"split": "val", "holdout": 1.0}, "holdout must be between 0 and 1, got 1.0"),
        ({"split": "val", "holdout": 1e-9}, "filter and split must select a row, got none"),
        ({"snapshot": 99}, "snapshot must be one of the store's (1, 2), got 99"),
        ({"snapshot": "1"}, "snapshot must be a number or a Pin, got '1'"),
    ],
)
def test_sources_that_make_no_sense_are_refused_at_the_start(
    store: Store, given: dict[str, Any], sentence: str
) -> None:
    make = lambda: LatentLoader(Source(store=store, **given), global_batch_size=8)  # noqa: E731
    assert sentence in refused(make)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (lambda _: [], "sources must be one or more, of different names, got []"),
        (lambda _: 3, "sources must be a store's URL, a store, a Source or a list of them"),
        (lambda _: [None], "a Source or a list of them, got None"),
        (
            lambda store: [Source(store=store, name="a"), Source(store=store, name="a")],
            "of different names, got ['a', 'a']",
        ),
        (
            lambda store: [Source(store=store, weight=1), Source(store=store)],
            "weights must be given to all sources or to none, got [1, None]",
        ),
    ],
)
def test_lists_of_sources_that_make_no_sense_are_refused(
    store: Store, given: Callable[[Store], Any], sentence: str
) -> None:
    assert sentence in refused(lambda: LatentLoader(given(store), global_batch_size=8))


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    def load(path: Path | str) -> str:
        return refused(lambda: LatentLoader(path, global_batch_size=8))

    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "latentcache.json").write_text("no JSON")
    planned = Store.create(tmp_path / "planned")
    add_generation(planned, [(SQUARE, 4, 4)])
    for name in ("missing", "empty"):
        assert f"got {tmp_path / name} without one; create a store" in load(tmp_path / name)
    assert "must be a readable folder, got 'not a directory'" in load(tmp_path / "file")
    assert "it is damaged or not part of a store" in load(tmp_path / "junk")
    assert "store must have a snapshot, got none yet" in load(tmp_path / "planned")
    assert "url must be a path or an fsspec URL, got ''" in load("")
    assert "url must have a protocol that fsspec knows, got 'foo'" in load("foo://bucket/store")


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    path = tmp_path / "store"
    make_store(path)
    path.chmod(0)
    try:
        sentence = refused(lambda: LatentLoader(path, global_batch_size=8))
    finally:
        path.chmod(0o700)
    assert "must be a readable folder, got 'permission denied'" in sentence


def state_of(store: Store, **options: Any) -> dict[str, Any]:
    loader = LatentLoader(store, **{"global_batch_size": 8, **options})
    list(itertools.islice(loader, 3))
    return json.loads(json.dumps(loader.state))


def test_a_state_that_is_none_is_refused_whatever_is_wrong(store: Store) -> None:
    """A checkpoint cut short, edited, of another tool or version: the loader stays as it was."""
    loader = LatentLoader(store, global_batch_size=8)
    expected = [batch["row"].tolist() for batch in itertools.islice(loader, 4)]
    loader = LatentLoader(store, global_batch_size=8)
    good = state_of(store)
    cases: list[Any] = [None, [], "", 3, json.dumps(good), {}, {"model": {}, "optimizer": {}}]
    cases += [{**good, "format": other} for other in (0, 2, None, "1")]
    for name in good:
        cases += [{key: value for key, value in good.items() if key != name}]
        cases += [{**good, name: other} for other in (None, "x", 1.5, [1], {"a": 1})]
    for name in ("sources", "streams"):
        first = good[name][0] if name == "sources" else next(iter(good[name].values()))
        for fact in set(first) - {"weight", "repeats"}:
            cut = copy.deepcopy(good)
            inner = cut[name][0] if name == "sources" else next(iter(cut[name].values()))
            del inner[fact]
            cases.append(cut)
    cases += [{**good, "step": other} for other in (-1, 2.0, True, 1 << 62)]
    cases += [{**good, "micro": 1}, {**good, "parts": [1]}]
    position = next(iter(good["positions"]))
    cases += [{**good, "positions": {position: -8}}, {**good, "positions": {"0/9/1x8x8": 8}}]
    pin = good["sources"][0]["pin"]
    cases += [{**good, "sources": [{**good["sources"][0], "pin": pin[:-1]}]}]
    cases += [{**good, "sources": [{**good["sources"][0], "pin": pin.replace("/2@", "/1@")}]}]
    for case in cases:
        if case == {**good, "positions": {"a": 1}} or case is good:
            continue
        refused(lambda case=case: loader.load_state_dict(case))
    assert [batch["row"].tolist() for batch in itertools.islice(loader, 4)] == expected


def test_a_refused_resume_leaves_the_loader_on_its_snapshot(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    old = next(iter(LatentLoader(store, global_batch_size=8, micro_batches=2))).state
    add_generation(store, [(SQUARE, 32, 16)])
    add_column(store, LATENTS)
    loader = LatentLoader(store, columns=["latents"], global_batch_size=8)
    before = loader.state
    sentence = refused(lambda: loader.load_state_dict(old))
    assert "ranks and micro-batches must be (1, 2) to go on within a step, got (1, 1)" in sentence
    assert loader.state == before


def test_another_vae_s_store_is_refused_with_both_encodings(store: Store, tmp_path: Path) -> None:
    other = Store.create(tmp_path / "store")
    add_generation(other, [(SQUARE, 100, 40), (WIDE, 40, 16)])
    (view,) = add_column(other, SyntheticColumn(channels=16, seed=3)).columns.values()
    state = state_of(store)
    sentence = refused(lambda: LatentLoader(other, global_batch_size=8).load_state_dict(state))
    assert view.record.fingerprint in sentence
    assert state["columns"]["latents"] in sentence
    # And where the VAE is the same, it is still not the run's store.
    same = make_store(tmp_path / "same")
    sentence = refused(lambda: LatentLoader(same, global_batch_size=8).load_state_dict(state))
    assert f"store of source 0 must be {store.store_id}, got {same.store_id}" in sentence


def test_a_state_of_a_retired_snapshot_goes_on_where_its_encoding_is_served(
    tmp_path: Path,
) -> None:
    store = make_store(tmp_path / "store")
    loader = LatentLoader(store, global_batch_size=8)
    rows = [batch["row"].tolist() for batch in itertools.islice(loader, 6)]
    state = state_of(store)
    newest = add_column(store, SyntheticColumn(channels=16, seed=3)).number
    swapped = LatentLoader(store, global_batch_size=8)
    swapped.load_state_dict(state)  # of itself, it goes back to what the run was trained on
    assert swapped.state["sources"] == state["sources"]
    (tmp_path / "store" / "snapshots" / f"{newest - 1}.json").unlink()
    again = LatentLoader(store, global_batch_size=8)
    again.load_state_dict(state)
    assert [batch["row"].tolist() for batch in itertools.islice(again, 3)] == rows[3:]
    pinned = Source(store=store, snapshot=newest - 1)
    assert f"got {newest - 1}" in refused(lambda: LatentLoader(pinned, global_batch_size=8))
    (tmp_path / "store" / "snapshots" / "1.json").unlink()
    sentence = refused(lambda: again.load_state_dict(state))
    assert f"encoding {state['columns']['latents']} of column latents must be in" in sentence
    assert f"got none of {newest} " in sentence
    assert "latentcache encode" in sentence


def test_a_store_that_was_half_copied_is_refused_by_what_is_not_there(tmp_path: Path) -> None:
    make_store(tmp_path / "store")

    def read() -> None:
        loader = LatentLoader(
            tmp_path / "store", columns=["latents", "caption", "crop"], global_batch_size=20
        )
        for batch in itertools.islice(loader, 8):
            _ = batch["caption"], batch["crop"]

    # Not read: records of the work, other columns, and without its record a snapshot is none.
    unread = re.compile(r"/(commits|meta)/|snapshots/\d\.(json|dino)|/dino/|/captions/|/label/")
    files = [path for path in sorted((tmp_path / "store").rglob("*")) if path.is_file()]
    for path in files:
        if not unread.search(str(path)):
            data = path.read_bytes()
            path.unlink()
            refused(read)
            path.write_bytes(data)


def test_a_store_that_grows_during_the_run_is_not_noticed(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store")
    expected = [batch["row"].tolist() for batch in itertools.islice(loader_of(store), 30)]
    loader = loader_of(store)
    found = [batch["row"].tolist() for batch in itertools.islice(loader, 10)]
    add_generation(store, [(SQUARE, 64, 40)], retired=[(0, 0)])
    add_column(store, LATENTS)
    found += [batch["row"].tolist() for batch in itertools.islice(loader, 20)]
    assert found == expected


def loader_of(store: Store) -> LatentLoader:
    return LatentLoader(store, global_batch_size=8)


def test_a_dataloader_around_the_loader_is_refused(store: Store) -> None:
    loader = loader_of(store)
    for num_workers in (0, 1):
        wrapped = torch.utils.data.DataLoader(loader, batch_size=None, num_workers=num_workers)
        with pytest.raises(ConfigError, match="loader must be iterated, got an index"):
            next(iter(wrapped))

    class Wrapped(torch.utils.data.IterableDataset[Batch]):
        def __iter__(self) -> Any:
            return iter(loader)

    wrapped = torch.utils.data.DataLoader(Wrapped(), batch_size=None, num_workers=1)
    with pytest.raises(ConfigError, match="must be iterated in the training process, got a Data"):
        next(iter(wrapped))


def test_a_fork_cannot_take_the_parent_s_batches(store: Store) -> None:
    loader = loader_of(store)
    batches = iter(loader)
    next(batches)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # no assertions here: pytest must not go on twice
        answers = []
        for one in (batches, iter(loader)):
            try:
                next(one)
            except ConfigError as error:
                answers.append(str(error))
        os.write(writing, json.dumps(answers).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    answers = json.loads(os.read(reading, 1 << 16))
    os.close(reading)
    assert len(answers) == 2
    assert all("in the process that made it, got a fork of it" in one for one in answers)
    next(batches)


def test_a_copy_of_the_loader_is_refused(store: Store) -> None:
    loader = loader_of(store)
    for make in (lambda: pickle.dumps(loader), lambda: copy.deepcopy(loader)):
        assert "got a pickle or copy; make one where it is used" in refused(make)


_RANK = """
import itertools, json, sys, torch, torch.distributed as dist
torch.set_num_threads(1)
rank, meeting, ours, full = int(sys.argv[1]), *sys.argv[2:]
dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
from latentcache.core.errors import LatentCacheError
from latentcache.loader import LatentLoader, LoaderOptions, Source

def report(*sources, **options):
    try:
        loader = LatentLoader(list(sources), global_batch_size=8, **options)
        print(json.dumps([batch["row"].tolist() for batch in itertools.islice(loader, 3)]))
    except LatentCacheError as error:
        print(error)

report(Source(store=full, snapshot=1 + rank))
report(*[Source(store=full, name=str(n)) for n in range(1 + rank)])
report(full, rank=0, world_size=2)
report(full, columns=[["latents"], ["dino"]][rank])
if rank == 0:
    report(full, rank=0, world_size=1, options=LoaderOptions(is_collective=False))
report(full)
sys.stdout.flush()
report(ours)  # rank 1 has an older copy of the store: nothing that rank 0 reads is there
sys.stdout.flush()
import os; os._exit(0)
"""


def test_ranks_that_differ_say_in_what(tmp_path: Path) -> None:
    whole = make_store(tmp_path / "whole")
    older = tmp_path / "older"
    subprocess.run(["cp", "-r", str(tmp_path / "whole"), str(older)], check=True)
    for path in (older / "snapshots").glob("2.*"):
        path.unlink()
    assert whole.snapshots() == [1, 2]
    full = str(tmp_path / "whole")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _RANK, str(rank), str(tmp_path / "meeting"), ours, full],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank, ours in enumerate((full, str(older)))
    ]
    first, second = (one.communicate(timeout=120)[0].splitlines() for one in processes)
    alone = json.loads(first.pop(4))
    assert [len(rows) for rows in alone] == [8, 8, 8]
    for line, sentence in enumerate(
        (
            r"sources must be equal on all ranks, got .*/1@.* on rank 0 and .*/2@.* on rank 1; ",
            r"sources must be equal on all ranks, got 2 on rank 1 and 1 on rank 0; ",
            r"rank must be each of 0 to 1 somewhere, got \[0, 0\] on the processes; ",
            r"columns must be equal on all ranks, got .*latents.* on rank 0 and .*dino.* rank 1; ",
        )
    ):
        assert first[line] == second[line]
        assert re.match(sentence, first[line]), first[line]
    shares = zip(json.loads(first[4]), json.loads(second[4]), strict=True)
    assert [one + other for one, other in shares] == alone
    assert "snapshot must be one of the store's (1), got 2" in second[5]
