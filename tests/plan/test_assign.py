import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentcache.core.media import Bucket, MediaInfo, SourceRef
from latentcache.core.rejects import Reject
from latentcache.plan.clips import VideoLength
from latentcache.plan.listing import ListedMedia
from latentcache.plan.placement.assign import Assignment, assign
from latentcache.plan.placement.plan_base import PlanBase
from latentcache.plan.placement.scanned import ScannedMedia
from latentcache.plan.plan_options import PlanOptions
from latentcache.store.rows.plan_tables import PLAN_SCHEMA, REJECTS_SCHEMA


def scanned(path: str, size: tuple[int, int] = (600, 400), **listed: Any) -> ScannedMedia:
    media = ListedMedia(source=SourceRef(path=path, size_bytes=10), **listed)
    info = MediaInfo(width_px=size[0], height_px=size[1], format="PNG", mode="RGB")
    return ScannedMedia.of(media, media.reject or info)


def member(tar: str, index: int, size: tuple[int, int] = (300, 300)) -> ScannedMedia:
    media = ListedMedia(
        source=SourceRef(
            path=tar, member=f"{index:05d}.jpg", offset_bytes=512 * index, size_bytes=10
        ),
        position=index,
        is_member=True,
    )
    info = MediaInfo(width_px=size[0], height_px=size[1], format="JPEG", mode="RGB")
    return ScannedMedia.of(media, info)


def tables(plan: Assignment) -> tuple[pa.Table, pa.Table, list[dict[str, Any]]]:
    rows = pa.concat_tables([PLAN_SCHEMA.empty_table(), *plan.iter_rows()]).unify_dictionaries()
    rejects = pa.concat_tables([REJECTS_SCHEMA.empty_table(), *plan.iter_rejects()])
    return rows, rejects, [r for table in plan.iter_annotations() for r in table.to_pylist()]


SIZES = st.sampled_from([(640, 480), (480, 640), (512, 512), (100, 90), (3000, 200), (1, 1)])
ITEMS = st.lists(st.tuples(st.integers(0, 40), SIZES, st.text(max_size=3)), max_size=60)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=ITEMS,
    order=st.randoms(use_true_random=False),
    chunk=st.integers(1, 20),
    flush_rows=st.sampled_from([1, 7, 10_000]),
    least=st.integers(1, 12),
)
def test_plan_depends_on_the_set_of_samples_alone(
    tmp_path_factory: pytest.TempPathFactory,
    items: list[tuple[int, tuple[int, int], str]],
    order: random.Random,
    chunk: int,
    flush_rows: int,
    least: int,
) -> None:
    options = PlanOptions(resolution_px=256, min_bucket=least, rows_per_shard=8)
    media = [
        scanned(f"{number}.jpg", size, annotations={"caption": text}, position=position)
        for position, (number, size, text) in enumerate(items)
    ]
    shuffled = order.sample(media, len(media))
    chunks = [shuffled[i : i + chunk] for i in range(0, len(shuffled), chunk)]
    first = assign([media], options, tmp_path_factory.mktemp("first"))
    second = assign(chunks, options, tmp_path_factory.mktemp("second"), flush_rows=flush_rows)
    assert first.runs == second.runs
    for one, other in zip(tables(first), tables(second), strict=True):
        assert one == other
    assert first.num_rows + first.num_rejects == len({number for number, _, _ in items})
    check_numbering(first)


def check_numbering(plan: Assignment) -> None:
    rows, rejects, annotations = tables(plan)
    places = [
        (shard, row, str(run.bucket))
        for run in plan.runs
        for shard in range(run.first_shard, run.first_shard + run.num_shards)
        for row in range(run.rows_in_shard(shard))
    ]
    columns = (rows["shard"], rows["row"], rows["bucket"])
    assert list(zip(*(column.to_pylist() for column in columns), strict=True)) == places
    assert len(rows) == plan.num_rows == sum(run.num_rows for run in plan.runs)
    assert len(rejects) == plan.num_rejects == sum(plan.reject_codes.values())
    assert len(annotations) in (0, len(rows))
    keys = rows["key"].to_pylist() + rejects["key"].to_pylist()
    assert len(set(keys)) == len(keys)


def test_another_seed_places_otherwise(tmp_path: Path) -> None:
    media = [scanned(f"{n}.jpg") for n in range(50)]
    keys = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows, _, _ = tables(assign([media], PlanOptions(seed=seed), folder))
        keys.append(rows["key"].to_pylist())
    assert keys[0] != keys[1]
    assert sorted(keys[0]) == sorted(keys[1])


def test_members_of_a_run_stay_together_in_order(tmp_path: Path) -> None:
    media = [member(tar, index) for tar in ("a.tar", "b.tar") for index in range(600)]
    rows, _, _ = tables(assign([media], PlanOptions(), tmp_path))
    found = list(zip(rows["path"].to_pylist(), rows["offset_bytes"].to_pylist(), strict=True))
    runs = [(path, offset // 512 // 256) for path, offset in found]
    changes = 1 + sum(a != b for a, b in pairwise(runs))
    assert changes == len(set(runs)) == 6
    for run in set(runs):
        offsets = [offset for (_, offset), r in zip(found, runs, strict=True) if r == run]
        assert offsets == sorted(offsets)


def test_geometry_is_of_the_bucket_that_the_row_has(tmp_path: Path) -> None:
    media = [scanned(f"{n}.jpg", (640, 427)) for n in range(3)]
    rows, _, _ = tables(assign([media], PlanOptions(resolution_px=256), tmp_path))
    row = rows.to_pylist()[0]
    assert row["bucket"] == "1x192x320"
    resized = (row["resized_width_px"], row["resized_height_px"])
    assert (resized, row["crop_left_px"], row["crop_top_px"]) == ((320, 214), 0, 11)
    assert row["start_s"] is None


def test_rows_of_one_path_are_one_sample_with_their_captions(tmp_path: Path) -> None:
    rows_of_a = [("two", 5), ("one", 5), ("two", 5), ("three", 6)]
    media = [
        scanned("a.jpg", position=n, annotations={"caption": text, "score": score})
        for n, (text, score) in enumerate(rows_of_a)
    ]
    plan = assign([[scanned("b.jpg"), *media[::-1]]], PlanOptions(), tmp_path)
    rows, rejects, found = tables(plan)
    assert sorted(rows["path"].to_pylist()) == ["a.jpg", "b.jpg"]
    assert not len(rejects)
    of_a = found[rows["path"].to_pylist().index("a.jpg")]
    assert of_a == {"caption": ["two", "one", "three"], "score": 5}
    assert plan.findings.counts == {"rows_merged": 3, "field_differs": 1}
    assert plan.findings.examples["field_differs"] == ["score of a.jpg"]
    assert plan.num_with == {"caption": 1, "score": 1}


def test_a_row_that_can_be_used_comes_before_one_that_cannot(tmp_path: Path) -> None:
    reject = Reject(code="unreadable", stage="scan", reason="gone", is_transient=True)
    media = [scanned("a.jpg", position=0, reject=reject), scanned("a.jpg", position=1)]
    plan = assign([media], PlanOptions(), tmp_path)
    assert (plan.num_rows, plan.num_rejects) == (1, 0)


def test_numbers_among_names_are_taken_for_names_and_said(tmp_path: Path) -> None:
    labels = [7, "cat", 7, "dog", 12]
    media = [scanned(f"{n}.jpg", annotations={"label": label}) for n, label in enumerate(labels)]
    plan = assign([media], PlanOptions(), tmp_path)
    assert plan.classes is not None
    assert plan.classes.names == ("12", "7", "cat", "dog")
    assert plan.findings.counts["number_among_names"] == 3
    assert plan.findings.examples["number_among_names"] == ["12", "7"]


def test_labels_that_are_names_are_numbered_in_sorted_order(tmp_path: Path) -> None:
    labels = ["dog", "cat", None, "dog", "ant"]
    media = [
        scanned(f"{n}.jpg", annotations={"label": label} if label else {})
        for n, label in enumerate(labels)
    ]
    plan = assign([media], PlanOptions(), tmp_path)
    rows, _, found = tables(plan)
    by_path = dict(zip(rows["path"].to_pylist(), found, strict=True))
    numbers = [by_path[f"{n}.jpg"]["label"] for n in range(5)]
    assert (numbers, plan.classes and plan.classes.names) == (
        [2, 1, None, 2, 0],
        ("ant", "cat", "dog"),
    )
    assert [by_path[f"{n}.jpg"]["label_name"] for n in range(5)] == labels
    assert [v["value"] for t in plan.iter_values("label_name") for v in t.to_pylist()] == [
        each["label_name"] for each in found if each["label_name"]
    ]


def test_five_thousand_classes_of_one_picture_are_said(tmp_path: Path) -> None:
    media = [scanned(f"{n}.jpg", annotations={"label": f"c{n:04d}"}) for n in range(5000)]
    plan = assign([media], PlanOptions(), tmp_path)
    assert plan.findings.counts == {"class_of_one": 5000}
    assert plan.findings.examples["class_of_one"] == ["c0000", "c0001", "c0002"]


@pytest.mark.parametrize("labels", [[1, 2], [1, "a"], [0.5, 1]], ids=["numbers", "mixed", "float"])
def test_labels_that_are_numbers_stay_as_they_are(tmp_path: Path, labels: list[Any]) -> None:
    media = [scanned(f"{n}.jpg", annotations={"label": v}) for n, v in enumerate(labels)]
    plan = assign([media], PlanOptions(), tmp_path)
    if all(isinstance(label, (int, float)) for label in labels):
        assert plan.classes is None
        assert plan.annotation_schema.names == ["label"]
    else:
        assert plan.classes is not None
        assert plan.classes.names == ("1", "a")


def test_rejects_keep_their_reason(tmp_path: Path) -> None:
    reject = Reject(code="unreadable", stage="scan", reason="gone", is_transient=True)
    media = [scanned("a.jpg", reject=reject), scanned("b.jpg", (4, 4)), scanned("c.jpg", (0, 5))]
    plan = assign([media], PlanOptions(), tmp_path)
    _, rejects, _ = tables(plan)
    found = {row["path"]: row for row in rejects.to_pylist()}
    assert (found["a.jpg"]["reason"], found["a.jpg"]["is_transient"]) == ("gone", True)
    assert found["b.jpg"]["code"] == "too_small"
    assert found["c.jpg"]["code"] == "corrupt"
    assert plan.runs == ()


def test_merged_bucket_refuses_what_it_would_cut_too_much(tmp_path: Path) -> None:
    tall, wide = (400, 680), (680, 400)
    media = [scanned(f"{n}.jpg", wide) for n in range(20)] + [scanned("tall.jpg", tall)]
    options = PlanOptions(resolution_px=256, min_bucket=5)
    plan = assign([media], options, tmp_path)
    assert [(run.bucket, run.num_rows) for run in plan.runs] == [(Bucket(1, 192, 320), 20)]
    assert plan.reject_codes == {"too_narrow": 1}


def test_shards_continue_after_the_previous_generation(tmp_path: Path) -> None:
    media = [scanned(f"{n}.jpg", size) for n in range(20) for size in [(500 + n, 500)]]
    plan = assign([media], PlanOptions(rows_per_shard=8), tmp_path, base=PlanBase(first_shard=7))
    assert [(run.first_shard, run.num_shards) for run in plan.runs] == [(7, 3)]


def test_whole_clips_of_any_length_have_exact_buckets_and_shards_of_their_own(
    tmp_path: Path,
) -> None:
    options = PlanOptions(resolution_px=256, clips="whole", rows_per_shard=16)
    assert options.clip_rules is not None
    media = [scanned("picture.jpg", (256, 256)), scanned("other.jpg", (256, 256))]
    for number, frames in enumerate([3, 9, 9, 40, 2000]):
        length = VideoLength(last_s=(frames - 1) / 25, frame_s=1 / 25, frame_rate_fps=25.0)
        listed = ListedMedia(source=SourceRef(path=f"{number}.mp4", size_bytes=10))
        media += ScannedMedia.of_video(listed, (256, 256), length, options.clip_rules)
    first = assign([media], options, tmp_path)
    # A clip that is too short for two latent frames is a picture among pictures.
    assert [(str(run.bucket), run.num_rows, run.rows_per_shard) for run in first.runs] == [
        ("1x256x256", 3, 16),
        ("9x256x256", 2, 1),
        ("33x256x256", 1, 1),
        ("1993x256x256", 1, 1),
    ]
    check_numbering(first)
    rows, _, _ = tables(first)
    (tmp_path / "again").mkdir()
    assert tables(assign([media[::-1]], options, tmp_path / "again"))[0] == rows


def annotated(values: Sequence[Any]) -> list[ScannedMedia]:
    return [
        scanned(f"{n}.jpg", annotations={} if value is None else {"x": value})
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        pytest.param([1, None, 2], pa.int64(), id="whole-numbers"),
        pytest.param([1, 2.5], pa.float64(), id="numbers"),
        pytest.param([True, False], pa.bool_(), id="flags"),
        pytest.param([1, "a"], pa.string(), id="mixed"),
        pytest.param(["a", ["b", "c"]], pa.list_(pa.string()), id="several-captions"),
    ],
)
def test_annotation_column_has_the_narrowest_type(
    tmp_path: Path, values: list[Any], kind: pa.DataType
) -> None:
    plan = assign([annotated(values)], PlanOptions(), tmp_path)
    assert plan.annotation_schema == pa.schema([("x", kind)])
    rows, _, found = tables(plan)
    by_path = dict(zip(rows["path"].to_pylist(), (row["x"] for row in found), strict=True))
    for number, value in enumerate(values):
        given = by_path[f"{number}.jpg"]
        assert given == value or given == str(value) or given == [value]


def test_large_corpus_is_one_sorted_whole(tmp_path: Path) -> None:
    media = [scanned(f"{n}.jpg", (300 + n % 7, 300)) for n in range(3000)]
    chunks = [media[i : i + 100] for i in range(0, 3000, 100)]
    spilled = assign(chunks, PlanOptions(), tmp_path, flush_rows=500)
    rows, _, _ = tables(spilled)
    assert pc.count_distinct(rows["key"]).as_py() == 3000
    check_numbering(spilled)


def test_one_annotation_comes_with_its_places(tmp_path: Path) -> None:
    plan = assign([annotated([1, None, 2.5, 4])], PlanOptions(rows_per_shard=2), tmp_path)
    rows, _, found = tables(plan)
    places = zip(rows["shard"].to_pylist(), rows["row"].to_pylist(), found, strict=True)
    expected = [
        {"shard": shard, "row": row, "value": fields["x"]}
        for shard, row, fields in places
        if fields["x"] is not None
    ]
    assert [row for table in plan.iter_values("x") for row in table.to_pylist()] == expected


def test_plan_is_the_same_on_every_machine_and_in_every_release(tmp_path: Path) -> None:
    media = [scanned(f"{n}.jpg", (500 + 40 * n, 700)) for n in range(6)]
    media += [member("a.tar", n) for n in range(2)]
    rows, _, _ = tables(assign([media], PlanOptions(resolution_px=256, seed=3), tmp_path))
    columns = ["key", "bucket", "resized_width_px", "resized_height_px"]
    assert [tuple(row.values()) for row in rows.select(columns).to_pylist()] == PINNED


PINNED = [
    ("5b0ac7911d3635fdd505", "1x256x256", 256, 272),
    ("85771d145bbfa56fc15f", "1x256x256", 256, 256),
    ("2cca4ba8895d36c30b51", "1x256x256", 256, 289),
    ("80bfe76b9444180d0990", "1x256x256", 256, 256),
    ("8e267d808691b91815f9", "1x256x256", 256, 256),
    ("4abb60fe59d7798ec48f", "1x288x224", 224, 314),
    ("e4a0db934ce193fc1be6", "1x288x224", 239, 288),
    ("2b8a1edba4e55a500b93", "1x288x224", 224, 290),
]
"""A change here moves rows of stores that exist: it needs a new version of the plan."""
