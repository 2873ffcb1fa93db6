"""Laws of whole runs: any ranks, cuts, ramps, mixtures and growth, on one real store.

A *run* here is what all ranks draw together: a list of steps, each with the stream that
served it and its samples in the order of ranks and micro-batches.
"""

import itertools
import json
import logging
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader, LoaderOptions, Source
from latentcache.store import Store
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation, unit_values
from tests.law_examples import examples

SQUARE, WIDE, CLIP = Bucket(1, 32, 32), Bucket(1, 16, 48), Bucket(5, 16, 32)
REJECTED = {(0, 3), (1, 7), (4, 0), (5, 1), (8, 2), *((2, row) for row in range(16))}
COLUMN = SyntheticColumn(
    has_logvar=True,
    is_video=True,
    channels=2,
    rows_per_unit=8,
    rejected=frozenset(REJECTED),
)
RETIRED = {(0, 5), (0, 6), (4, 1), (6, 0)}
few = examples(8)

Place = tuple[int, int]


@dataclass(frozen=True)
class Corpus:
    """A store with two snapshots, and what each row of its plan holds.

    Attributes:
        places: (shard, row) by number in the plan.
        streams: Numbers of a stream's rows by (generation, bucket).
        means: What is stored, by number.
    """

    store: Store
    places: list[Place]
    streams: dict[str, list[int]]
    means: dict[int, np.ndarray]

    def label(self, number: int) -> int:
        return self.places[number][1] % 3

    def lost(self, snapshot: int) -> set[int]:
        """Return the numbers of rows that have no sample in a snapshot."""
        gone = REJECTED | (RETIRED if snapshot == 2 else set())
        return {number for number, place in enumerate(self.places) if place in gone}


@pytest.fixture(autouse=True)
def _small_streams_are_meant(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "latentcache")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    store = Store.create(tmp_path_factory.mktemp("laws") / "store")
    for runs, retired in (
        ([(SQUARE, 61, 16), (WIDE, 23, 10), (CLIP, 14, 6)], None),
        ([(SQUARE, 20, 16)], sorted(RETIRED)),
    ):
        generation = add_generation(store, runs, clips_per_medium=1, retired=retired)
        table = _captions(generation)
        for name in ("label", "captions"):
            columns = table.select(["shard", "row", name]).rename_columns(["shard", "row", "value"])
            store.write_annotations(generation, name, [columns])
        snapshot = add_column(store, COLUMN)
    places: list[Place] = []
    streams: dict[str, list[int]] = {}
    for generation in store.generations():
        for run in generation.runs:
            first = len(places)
            places += list(_places_of(run))
            streams[f"{generation.number}/{run.bucket}"] = list(range(first, len(places)))
    values = {}
    for entry in snapshot.column("latents").units():
        drawn = unit_values(COLUMN, entry.unit)["mean"]
        for index, mean in enumerate(drawn):
            values[(entry.unit.unit.shard, entry.unit.first_row + index)] = mean
    means = {number: values[place] for number, place in enumerate(places) if place in values}
    return Corpus(store, places, streams, means)


def _places_of(run: Any) -> Iterator[Place]:
    for shard in range(run.first_shard, run.first_shard + run.num_shards):
        for row in range(run.rows_in_shard(shard)):
            yield shard, row


def _captions(generation: Any) -> pa.Table:
    places = [place for run in generation.runs for place in _places_of(run)]
    return pa.table(
        {
            "shard": [shard for shard, _ in places],
            "row": [row for _, row in places],
            "label": [row % 3 for _, row in places],
            "captions": [[f"{name} {shard} {row}" for name in "abc"] for shard, row in places],
        }
    )


@dataclass(frozen=True)
class Setting:
    """What a run is started with, ranks aside."""

    sources: tuple[dict[str, Any], ...] = ({},)
    size: int | dict[str, int] = 24
    seed: int = 0
    snapshot: int | None = 1
    options: dict[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ("latents",)
    normalize: bool = True

    def loaders(self, corpus: Corpus, parts: tuple[int, int]) -> list[LatentLoader]:
        world, micro = parts
        sources = [
            Source(store=corpus.store, snapshot=self.snapshot, **{"name": f"s{number}", **one})
            for number, one in enumerate(self.sources)
        ]
        return [
            LatentLoader(
                sources,
                columns=self.columns,
                global_batch_size=self.size,
                micro_batches=micro,
                seed=self.seed,
                rank=rank,
                world_size=world,
                normalize=self.normalize,
                options=LoaderOptions(**self.options),
            )
            for rank in range(world)
        ]


@dataclass(frozen=True)
class Step:
    """One global batch: its stream, rows, and what a sample was given, by its place."""

    stream: str
    rows: list[int]
    values: dict[str, list[Any]]
    num_substituted: int


def run(loaders: list[LatentLoader], num_steps: int, *names: str) -> list[Step]:
    """Return what all ranks draw; checks what must be equal on them on the way."""
    micro = loaders[0].state["parts"][1]
    iterators = [iter(loader) for loader in loaders]
    steps = []
    for _ in range(num_steps):
        batches = [next(one) for one in iterators for _ in range(micro)]
        facts = {(one.facts.step, one.facts.bucket, one.facts.stream) for one in batches}
        assert len(facts) == 1, "at a step all ranks are in one stream and bucket"
        states = {json.dumps(one.state, sort_keys=True) for one in batches[micro - 1 :: micro]}
        assert len(states) == 1, "after a step the state is equal on all ranks"
        values: dict[str, list[Any]] = defaultdict(list)
        for batch in batches:
            for name in ("row", *names):
                values[name] += list(batch[name])
        steps.append(
            Step(
                batches[0].facts.stream,
                [int(row) for row in values["row"]],
                values,
                sum(batch.facts.num_substituted for batch in batches),
            )
        )
    return steps


def rows_of(steps: list[Step]) -> list[tuple[str, list[int]]]:
    return [(step.stream, step.rows) for step in steps]


def by_stream(steps: list[Step]) -> dict[str, list[int]]:
    """Return each stream's rows in the order drawn, wherever they were cut into steps."""
    found: dict[str, list[int]] = defaultdict(list)
    for step in steps:
        found[step.stream] += step.rows
    return found


def resumed(
    corpus: Corpus, setting: Setting, state: Any, parts: tuple[int, int], *, newest: bool = False
) -> list[LatentLoader]:
    loaders = setting.loaders(corpus, parts)
    for loader in loaders:
        loader.load_state_dict(json.loads(json.dumps(state)), newest=newest)
    return loaders


parts = st.tuples(st.integers(1, 8), st.integers(1, 3)).filter(lambda one: math.prod(one) <= 8)
mixtures = st.sampled_from(
    [
        ({},),
        ({"filter": "label != 1"},),
        ({"filter": 'bucket == "1x32x32" or label == 0'},),
        ({"split": "train", "holdout": 0.3},),
        ({"weight": 3, "filter": "label == 0"}, {"weight": 1.5, "filter": "label > 0"}),
        ({"repeats": 2.5}, {"split": "val", "holdout": 0.5}),
    ]
)


@st.composite
def settings_for(draw: Callable[..., Any], *shared: tuple[int, int], cut_lanes: bool = True) -> Any:
    """Draw a run whose batches the given ranks and micro-batches can share."""
    lanes = draw(st.sampled_from([1, 2, 3])) if cut_lanes else 1
    least = math.lcm(lanes, *(math.prod(one) for one in shared))
    multiples = {str(bucket): draw(st.integers(1, 3)) for bucket in (SQUARE, WIDE, CLIP)}
    return Setting(
        sources=draw(mixtures),
        size={bucket: least * times for bucket, times in multiples.items()},
        seed=draw(st.integers(0, 2**40)),
        options={
            "partitions": lanes,
            "window_shards": draw(st.integers(0, 2)),
            "posterior": "mode",
        },
    )


@few
@given(data=st.data(), one=parts, other=parts)
def test_any_ranks_draw_the_same_run(
    corpus: Corpus, data: st.DataObject, one: tuple[int, int], other: tuple[int, int]
) -> None:
    setting = data.draw(settings_for(one, other))
    first = run(setting.loaders(corpus, one), 8)
    assert rows_of(first) == rows_of(run(setting.loaders(corpus, other), 8))


@few
@given(data=st.data(), one=parts, other=parts, cut=st.integers(0, 9))
def test_a_resume_repeats_and_skips_nothing(
    corpus: Corpus, data: st.DataObject, one: tuple[int, int], other: tuple[int, int], cut: int
) -> None:
    setting = data.draw(settings_for(one, other))
    # The store has grown since: that is nothing to a run on its own snapshot.
    assert corpus.store.snapshots() == [1, 2]
    whole = run(setting.loaders(corpus, (1, 1)), 10)
    first = setting.loaders(corpus, one)
    head = run(first, cut)
    again = resumed(corpus, replace(setting, snapshot=None), first[-1].state, other)
    assert rows_of(head + run(again, 10 - cut)) == rows_of(whole)


@few
@given(data=st.data(), ramp=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 3)), max_size=4))
def test_a_ramp_repeats_and_skips_nothing_within_a_stream(
    corpus: Corpus, data: st.DataObject, ramp: list[tuple[int, int]]
) -> None:
    setting = data.draw(settings_for((2, 1)))
    loaders, steps = setting.loaders(corpus, (2, 1)), []
    for num_steps, times in ramp:
        steps += run(loaders, num_steps)
        ramped = replace(setting, size={name: n * times for name, n in setting.size.items()})
        loaders = resumed(corpus, ramped, loaders[0].state, (2, 1))
    steps += run(loaders, 4)
    lanes = setting.options["partitions"]
    whole = by_stream(run(setting.loaders(corpus, (2, 1)), 60))
    for stream, rows in by_lane(steps, lanes).items():
        expected = by_lane_of(whole[stream[0]], setting, stream)
        # A rare stream may come early in the ramp, and then with three times the rows.
        assert rows[: len(expected)] == expected[: len(rows)]


def by_lane(steps: list[Step], num_lanes: int) -> dict[tuple[str, int], list[int]]:
    """Return the rows of each lane: a global batch takes equally many from each, in turn."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for step in steps:
        each = len(step.rows) // num_lanes
        for lane in range(num_lanes):
            found[step.stream, lane] += step.rows[lane * each : (lane + 1) * each]
    return found


def by_lane_of(rows: list[int], setting: Setting, stream: tuple[str, int]) -> list[int]:
    size = setting.size[stream[0].rpartition("/")[2]]
    batches = [rows[start : start + size] for start in range(0, len(rows), size)]
    steps = [Step(stream[0], batch, {}, 0) for batch in batches]
    return by_lane(steps, setting.options["partitions"])[stream]


def test_a_ramp_within_a_step_is_refused(corpus: Corpus) -> None:
    loader = Setting(size=12).loaders(corpus, (1, 2))[0]
    state = next(iter(loader)).state
    for other in (Setting(size=24), Setting(size=12, sources=({"repeats": 2.0},))):
        with pytest.raises(ValueError, match="to go on within a step, got"):
            resumed(corpus, other, state, (1, 2))


@few
@given(data=st.data())
def test_an_epoch_of_a_stream_is_every_selected_row_once(
    corpus: Corpus, data: st.DataObject
) -> None:
    setting = data.draw(settings_for((1, 1)))
    lanes, lost = setting.options["partitions"], corpus.lost(1)
    steps = run(setting.loaders(corpus, (1, 1)), 40)
    drawn = by_lane(steps, lanes)
    num_substituted = 0
    for (stream, lane), rows in drawn.items():
        selected = selection(corpus, setting, stream)
        bounds = [len(selected) * number // lanes for number in (lane, lane + 1)]
        members = set(selected[slice(*bounds)])
        for start in range(0, len(rows) - len(members) + 1, len(members)):
            epoch = Counter(rows[start : start + len(members)])
            # Each row that has a sample comes, and what comes more often stands in for others.
            assert not members - lost - set(epoch)
            assert set(epoch) <= set(selected) - lost
            num_substituted += len(members & lost)
    assert num_substituted <= sum(step.num_substituted for step in steps)


def selection(corpus: Corpus, setting: Setting, stream: str) -> list[int]:
    """Return which rows a stream selects, by the plan and plain Python."""
    name, _, place = stream.partition("/")
    source = setting.sources[int(name[1:])]
    rows = corpus.streams[place]
    match source.get("filter"):
        case None:
            pass
        case "label != 1":
            rows = [row for row in rows if corpus.label(row) != 1]
        case "label == 0":
            rows = [row for row in rows if corpus.label(row) == 0]
        case "label > 0":
            rows = [row for row in rows if corpus.label(row) > 0]
        case _:
            rows = [row for row in rows if place == "0/1x32x32" or corpus.label(row) == 0]
    if "split" in source:
        ours = Setting(sources=(source,), size=1).loaders(corpus, (1, 1))[0]
        (found,) = (one for one in ours.coverage() if one.stream == f"s0/{place}")
        val = {**source, "split": "val" if source["split"] == "train" else "train"}
        theirs = Setting(sources=(val,), size=1).loaders(corpus, (1, 1))[0]
        rest = sum(one.num_rows for one in theirs.coverage() if one.stream == f"s0/{place}")
        assert found.num_rows + rest == len(rows), "train and val part the stream"
        stream_rows = next(one for one in ours._run.streams if one.place.name == f"s0/{place}")
        chosen = stream_rows.selection.rows
        rows = rows if chosen is None else [rows[index] for index in chosen]
    return rows


@few
@given(data=st.data(), one=parts, other=parts)
def test_draws_belong_to_the_seed_the_sample_and_the_epoch(
    corpus: Corpus, data: st.DataObject, one: tuple[int, int], other: tuple[int, int]
) -> None:
    """Neither ranks nor batch sizes nor the mixture around a sample change what it is given."""
    setting = replace(
        data.draw(settings_for(one, other)), columns=("latents", "captions"), sources=({},)
    )
    setting = replace(setting, options={**setting.options, "posterior": "sample"})
    names = ("key", "noise_seed", "latents", "captions")
    split = replace(
        setting,
        sources=({"filter": "label == 0", "name": "a"}, {"filter": "label > 0", "name": "b"}),
        size=math.lcm(*setting.size.values()),
    )
    given_to: dict[tuple[str, int], tuple[torch.Tensor, str]] = {}
    seeds: dict[str, set[int]] = defaultdict(set)
    captions = set()
    first = run(setting.loaders(corpus, one), 8, *names)
    for steps in (first, run(split.loaders(corpus, other), 4, *names)):
        for step in steps:
            for key, seed, latent, caption in zip(*(step.values[n] for n in names), strict=True):
                before = given_to.setdefault((key, int(seed)), (latent, caption))
                assert torch.equal(before[0], latent)
                assert before[1] == caption
                seeds[key].add(int(seed))
                captions.add(caption[0])
    # A short run need not meet each of the three.
    assert captions <= set("abc")
    assert len(captions) > 1, "captions are drawn"
    every = [seed for found in seeds.values() for seed in found]
    assert len(set(every)) == len(every), "samples and epochs share no noise"
    later = run(replace(setting, seed=setting.seed + 1).loaders(corpus, one), 2, *names)
    assert not {int(seed) for step in later for seed in step.values["noise_seed"]} & set(every)


@few
@given(data=st.data(), one=parts)
def test_every_latent_is_the_one_stored_for_its_row(
    corpus: Corpus, data: st.DataObject, one: tuple[int, int]
) -> None:
    setting = data.draw(settings_for(one))
    snapshot = data.draw(st.sampled_from([1, 2]))
    lost = corpus.lost(snapshot)
    setting = replace(setting, normalize=False, snapshot=snapshot)
    for step in run(setting.loaders(corpus, one), 8, "latents"):
        for number, latent in zip(step.rows, step.values["latents"], strict=True):
            assert number not in lost
            assert np.array_equal(latent.float().numpy(), corpus.means[number])


@few
@given(
    data=st.data(),
    weights=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    num_steps=st.integers(1, 90),
)
def test_weights_are_kept_to_a_few_batches_at_any_time(
    corpus: Corpus, data: st.DataObject, weights: list[int], num_steps: int
) -> None:
    seed = data.draw(st.integers(0, 99))
    sources = tuple(
        {"weight": weight, "filter": f"label == {n}"} for n, weight in enumerate(weights)
    )
    setting = Setting(sources=sources, size=data.draw(st.sampled_from([4, 7])), seed=seed)
    (loader,) = setting.loaders(corpus, (1, 1))
    run([loader], num_steps)
    for number, weight in enumerate(weights):
        found = [one for one in loader.coverage() if one.stream.startswith(f"s{number}/")]
        total = sum(one.num_rows for one in found)
        for one in found:
            exact = num_steps * weight / sum(weights) * one.num_rows / total
            # Worst of 20,000 mixtures of up to 9 streams at up to 90 steps: 2.4.
            assert abs(one.num_drawn / setting.size - exact) < 3


@few
@given(data=st.data(), cut=st.integers(0, 12), other=parts)
def test_growth_adds_streams_and_leaves_the_others_where_they_were(
    corpus: Corpus, data: st.DataObject, cut: int, other: tuple[int, int]
) -> None:
    setting = data.draw(settings_for((1, 1), other, cut_lanes=False))
    setting = replace(setting, sources=({},))
    whole = by_stream(run(setting.loaders(corpus, (1, 1)), 120))
    before = setting.loaders(corpus, (1, 1))
    head = run(before, cut)
    grown = replace(setting, snapshot=2)
    again = resumed(corpus, grown, before[0].state, other, newest=True)
    tail = run(again, 10)
    retired = corpus.lost(2) - corpus.lost(1)
    assert not retired & {row for step in tail for row in step.rows}
    num_before = {stream: len(rows) for stream, rows in by_stream(head).items()}
    for stream, rows in by_stream(head + tail).items():
        if stream == "s0/1/1x32x32":
            assert stream not in num_before
            continue
        for at, (now, then) in enumerate(zip(rows, whole[stream], strict=False)):
            # Only a row that was retired meanwhile, or whose stand-in was, is another.
            assert now == then or (at >= num_before.get(stream, 0) and then in retired)
    assert again[0].normalizer == before[0].normalizer


def test_a_state_is_as_long_after_years_as_after_an_hour(corpus: Corpus) -> None:
    setting = Setting(size=24)
    (loader,) = setting.loaders(corpus, (1, 1))
    run([loader], 30)
    young = loader.state
    old = json.loads(json.dumps(young))
    old["step"] += 10**12
    old["positions"] = {name: count + 24 * 10**12 for name, count in old["positions"].items()}
    (aged,) = resumed(corpus, setting, old, (1, 1))
    (batch,) = itertools.islice(aged, 1)
    assert batch.facts.step == old["step"]
    digits = 2 * 13 * len(old["positions"]) + 13
    assert len(json.dumps(batch.state)) <= len(json.dumps(young)) + digits


@few
@given(data=st.data(), turns=st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_iterators_of_one_loader_share_its_place(
    corpus: Corpus, data: st.DataObject, turns: list[int]
) -> None:
    """Whoever asks next gets the next batch: ``break`` and a second ``for`` go on."""
    setting = data.draw(settings_for((1, 1)))
    whole = itertools.islice(setting.loaders(corpus, (1, 1))[0], len(turns))
    (loader,) = setting.loaders(corpus, (1, 1))
    iterators = [iter(loader) for _ in range(3)]
    for turn, expected in zip(turns, whole, strict=True):
        batch = next(iterators[turn])
        assert torch.equal(batch["latents"], expected["latents"])
        assert batch.state == expected.state == loader.state
