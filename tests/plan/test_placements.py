"""Samples with several rows: which there are, what each is called, and how each is cut."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentcache.core.errors import ConfigError
from latentcache.core.media import MediaInfo, SourceRef
from latentcache.core.placements import MIN_CROP_SHIFT_PX
from latentcache.plan.growth.added_placements import grown_placements
from latentcache.plan.listing import ListedMedia
from latentcache.plan.placement.assign import Assignment, assign
from latentcache.plan.placement.plan_base import PlanBase
from latentcache.plan.placement.scanned import ScannedMedia
from latentcache.plan.plan_options import PlanOptions
from latentcache.store.rows import PLACED_PLAN_SCHEMA, PLAN_SCHEMA

SIZES = st.lists(
    st.tuples(st.integers(20, 900), st.integers(20, 900)), min_size=1, max_size=12, unique=True
)
RESOLUTIONS = st.lists(st.sampled_from([64, 128, 256]), min_size=1, max_size=3, unique=True)
FLIPS = st.sampled_from(["", "horizontal"])
LAWS = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def scanned(number: int, size_px: tuple[int, int]) -> ScannedMedia:
    media = ListedMedia(source=SourceRef(path=f"{number}.png", size_bytes=1))
    info = MediaInfo(width_px=size_px[0], height_px=size_px[1], format="PNG", mode="RGB")
    return ScannedMedia.of(media, info)


def options_of(resolutions: list[int], crops: int, flip: str, **others: Any) -> PlanOptions:
    told = tuple(resolutions) if len(resolutions) > 1 else resolutions[0]
    return PlanOptions(resolution_px=told, crops=crops, flip=flip, rows_per_shard=16, **others)


def rows_of(plan: Assignment) -> list[dict[str, Any]]:
    return [row for table in plan.iter_rows() for row in table.to_pylist()]


@LAWS
@given(sizes=SIZES, resolutions=RESOLUTIONS, crops=st.integers(1, 9), flip=FLIPS)
def test_each_row_has_a_key_of_its_own_and_shows_what_no_other_does(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[tuple[int, int]],
    resolutions: list[int],
    crops: int,
    flip: str,
) -> None:
    options = options_of(resolutions, crops, flip)
    media = [scanned(number, size) for number, size in enumerate(sizes)]
    plan = assign([media], options, tmp_path_factory.mktemp("plan"))
    rows = rows_of(plan)
    assert len({row["key"] for row in rows}) == len(rows) == plan.num_rows
    assert plan.num_samples + plan.num_rejects == len(media)
    if not options.has_placements:
        assert all(set(row) == set(PLAN_SCHEMA.names) for row in rows)
        return
    cuts: dict[tuple[str, int, bool], list[tuple[int, int]]] = {}
    for row in rows:
        corner = row["crop_left_px"], row["crop_top_px"]
        cuts.setdefault((row["path"], row["resolution_px"], row["is_flipped"]), []).append(corner)
        height_px, width_px = map(int, row["bucket"].split("x")[1:])
        assert 0 <= corner[0] <= row["resized_width_px"] - width_px
        assert 0 <= corner[1] <= row["resized_height_px"] - height_px
    for (path, resolution_px, is_flipped), corners in cuts.items():
        for at, one in enumerate(corners):
            for other in corners[:at]:
                assert max(abs(a - b) for a, b in zip(one, other, strict=True)) >= MIN_CROP_SHIFT_PX
        if flip:
            assert corners == cuts[path, resolution_px, not is_flipped]


@LAWS
@given(sizes=SIZES, resolutions=RESOLUTIONS, crops=st.integers(1, 4), flip=FLIPS, data=st.data())
def test_placements_that_are_added_are_those_of_a_plan_that_had_them_from_the_start(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[tuple[int, int]],
    resolutions: list[int],
    crops: int,
    flip: str,
    data: st.DataObject,
) -> None:
    whole = options_of(resolutions, crops, flip)
    first = options_of(
        resolutions[: data.draw(st.integers(1, len(resolutions)))],
        data.draw(st.integers(1, crops)),
        data.draw(st.sampled_from(sorted({"", flip}))),
    )
    added = frozenset(whole.placements) - frozenset(first.placements)
    media = [scanned(number, size) for number, size in enumerate(sizes)]
    planned = assign([media], first, tmp_path_factory.mktemp("first"))
    before = rows_of(planned)
    there = {row["path"] for row in before}
    known = [each for each in media if each.listed.source.path in there]
    base = PlanBase(only=added)
    after = []
    if added:
        grown = assign([known], whole, tmp_path_factory.mktemp("added"), base=base)
        assert not grown.num_rejects
        after = rows_of(grown)
    at_once = assign([media], whole, tmp_path_factory.mktemp("whole"))

    def facts(rows: list[dict[str, Any]]) -> set[tuple[Any, ...]]:
        names = ("key", "path", "bucket", "crop_left_px", "crop_top_px")
        return {(*(row[name] for name in names), row.get("is_flipped", False)) for row in rows}

    expected = [row for row in rows_of(at_once) if row["path"] in there]
    assert facts(before) | facts(after) == facts(expected)
    assert len(before) + len(after) == len(expected)


def test_a_sample_is_at_the_resolutions_it_is_large_enough_for(tmp_path: Path) -> None:
    options = PlanOptions(resolution_px=(64, 512), rows_per_shard=16)
    plan = assign([[scanned(0, (100, 100)), scanned(1, (600, 500))]], options, tmp_path)
    found = [(row["path"], row["resolution_px"]) for row in rows_of(plan)]
    assert sorted(found) == [("0.png", 64), ("1.png", 64), ("1.png", 512)]
    assert plan.findings.counts["placement_misfit"] == 1
    assert plan.findings.examples["placement_misfit"] == ["0.png at 512 px"]
    assert not plan.num_rejects


def test_rows_of_one_sample_in_a_bucket_lie_beside_each_other(tmp_path: Path) -> None:
    options = PlanOptions(resolution_px=(64, 128), crops=3, flip="horizontal", rows_per_shard=16)
    plan = assign([[scanned(number, (330, 170)) for number in range(9)]], options, tmp_path)
    paths = [row["path"] for row in rows_of(plan)]
    assert len(paths) == 9 * 12
    changes = sum(one != other for one, other in pairwise(paths))
    assert changes == 2 * 9 - 1
    for table in plan.iter_rows():
        assert table.schema == PLACED_PLAN_SCHEMA


def test_small_buckets_merge_within_their_resolution_alone(tmp_path: Path) -> None:
    options = PlanOptions(resolution_px=(128, 256), min_bucket=4, rows_per_shard=16)
    media = [scanned(number, (400, 400 - 8 * number)) for number in range(8)]
    plan = assign([media], options, tmp_path)
    for row in rows_of(plan):
        height_px, width_px = map(int, row["bucket"].split("x")[1:])
        assert height_px * width_px <= row["resolution_px"] ** 2
        assert height_px * width_px > 128**2 or row["resolution_px"] == 128


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"resolution_px": (512, 512)}, "resolutions must differ, got 512 2 times"),
        ({"resolution_px": ()}, "resolution must be one number or several, got none"),
        ({"resolution_px": (512, 1000)}, "multiple of step = 64, got 1000.*use 960"),
        ({"crops": 0}, "crops must be from 1 to 9, got 0"),
        ({"crops": 10}, "crops must be from 1 to 9, got 10"),
        ({"flip": "vertical"}, "flip must be horizontal or nothing, got 'vertical'"),
    ],
)
def test_bad_placements_are_refused_in_a_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        PlanOptions(**options)


def test_a_plan_with_one_placement_is_recorded_as_before() -> None:
    told = PlanOptions().as_dict()
    assert told["resolution_px"] == 512
    assert not {"crops", "flip"} & set(told)
    assert PlanOptions(resolution_px=(512,)).as_dict() == told


def test_an_update_adds_placements_and_takes_none_away() -> None:
    planned = PlanOptions(resolution_px=512).as_dict()
    asked = PlanOptions(resolution_px=(1024, 512), flip="horizontal")
    found = grown_placements(planned, asked, ("resolution_px", "flip"))
    assert found == {
        "resolution_px": (512, 1024),
        "crops": 1,
        "flip": "horizontal",
        "step_px": 0,
    }
    with pytest.raises(ConfigError, match=r"must keep the placements .*--resolution 512 --crops 1"):
        grown_placements(planned, PlanOptions(resolution_px=1024), ("resolution_px",))
    several = replace(PlanOptions(), crops=3).as_dict()
    with pytest.raises(ConfigError, match="without 512 px, crop 3"):
        grown_placements(several, PlanOptions(crops=2), ("crops",))


def test_captions_of_several_rows_of_a_table_are_merged_once(tmp_path: Path) -> None:
    options = PlanOptions(resolution_px=(64, 128), flip="horizontal", rows_per_shard=16)
    media = [
        replace(each, listed=replace(each.listed, annotations={"caption": text}))
        for each, text in ((scanned(0, (200, 200)), "a"), (scanned(0, (200, 200)), "b"))
    ]
    plan = assign([media], options, tmp_path)
    assert plan.findings.counts["rows_merged"] == 1
    values = pa.concat_tables(plan.iter_annotations())["caption"].to_pylist()
    assert values == [["a", "b"]] * 4
