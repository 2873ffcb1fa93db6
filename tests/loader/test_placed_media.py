"""Families of samples with several rows: one order for all their buckets, nobody twice an epoch."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from latentcache.loader.order.epoch_order import OrderRule, StreamOrder
from latentcache.loader.order.mixture import Cursor, Member, Mixture
from latentcache.loader.streams.placed_media import FamilyBucket, PlacedRun, families

LAWS = settings(deadline=None, max_examples=60)


@st.composite
def placed_runs(draw: st.DrawFn) -> list[PlacedRun]:
    """Draw some runs: how many rows each sample has in each, and gaps between them."""
    num_samples, num_runs = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    counts = [[draw(st.integers(0, 3)) for _ in range(num_runs)] for _ in range(num_samples)]
    for of_sample in counts:
        of_sample[0] = max(of_sample[0], not any(of_sample))
    found = []
    for number in range(num_runs):
        order = draw(st.permutations(range(num_samples)))
        rows, starts, samples, row = [], [], [], 0
        for sample in order:
            row += draw(st.integers(0, 2))  # of other samples, which the source does not select
            if counts[sample][number]:
                starts.append(len(rows))
                samples.append(1000 + sample)
                rows += range(row, row + counts[sample][number])
                row += counts[sample][number]
        if rows:
            found.append(
                PlacedRun(
                    number=number,
                    generation=number // 2,
                    bucket=f"1x{64 + number}x64",
                    num_rows=row + 1,
                    rows=np.array(rows, np.int64),
                    starts=np.array(starts, np.int64),
                    samples=np.array(samples, np.int64),
                )
            )
    return found


def sample_of(runs: list[PlacedRun], bucket: FamilyBucket, row: int) -> int:
    run = next(each for each in runs if each.number == bucket.run)
    at = int(np.flatnonzero(run.rows == row)[0])
    return int(run.samples[np.searchsorted(run.starts, at, side="right") - 1])


@LAWS
@given(
    runs=placed_runs(),
    sizes=st.lists(st.integers(1, 5), min_size=4, max_size=4),
    seed=st.integers(0, 2**40),
    cut=st.integers(0, 30),
)
def test_every_sample_comes_once_an_epoch_of_its_family_whatever_batches_are(
    runs: list[PlacedRun], sizes: list[int], seed: int, cut: int
) -> None:
    buckets = list(families(runs, "s", is_one_pass=False))
    rule = OrderRule(seed=seed)
    members = [
        Member(
            order=StreamOrder(bucket.family, bucket.selection.num_rows, rule),
            weight=bucket.share * bucket.selection.num_rows,
            batch_size=sizes[at % len(sizes)],
            name=f"{bucket.label}#{at}",
        )
        for at, bucket in enumerate(buckets)
    ]
    mixture = Mixture(members, seed=seed)
    cursor, drawn = Cursor(), {}
    for step in range(80):
        if step == cut:  # as after a resume: nothing but the cursor is known
            cursor = Cursor(step=cursor.step, positions=dict(cursor.positions))
            assert mixture.cursor_at(step) == cursor
        draw = mixture.draw_at(cursor)
        bucket = buckets[draw.member]
        found = mixture.rows(draw, slice(0, draw.count))
        firsts = bucket.selection.rows_at(found.rows)
        rows = bucket.choice.rows(firsts, firsts, found.draws, (seed, "placement", bucket.family))
        mine = drawn.setdefault(bucket.family, [])
        mine += [sample_of(runs, bucket, row) for row in rows.tolist()]
        assert mine[-draw.count :] == [sample_of(runs, bucket, row) for row in firsts.tolist()]
        cursor = mixture.after(cursor, draw)
    known = Counter(bucket.family for bucket in buckets)
    of_families = {bucket.family: bucket.selection.num_rows for bucket in buckets}
    assert sum(of_families.values()) == len({one for run in runs for one in run.samples.tolist()})
    for family, samples in drawn.items():
        count = of_families[family]
        for start in range(0, len(samples) - count + 1, count):
            assert len(set(samples[start : start + count])) == count
    assert {
        family: sum(each.share for each in buckets if each.family == family) for family in known
    } == dict.fromkeys(known, 1)


@LAWS
@given(runs=placed_runs(), seed=st.integers(0, 2**40))
def test_the_rows_of_a_sample_in_a_bucket_come_each_once_before_one_comes_again(
    runs: list[PlacedRun], seed: int
) -> None:
    for bucket in families(runs, "s", is_one_pass=False):
        firsts = bucket.selection.rows_at(np.arange(bucket.selection.num_rows))
        run = next(each for each in runs if each.number == bucket.run)
        seen: dict[int, list[int]] = {}
        for epoch in range(6):
            draws = np.full(len(firsts), epoch)
            rows = bucket.choice.rows(firsts, firsts, draws, (seed, "placement", bucket.family))
            for first, row in zip(firsts.tolist(), rows.tolist(), strict=True):
                assert sample_of(runs, bucket, first) == sample_of(runs, bucket, row)
                seen.setdefault(first, []).append(row)
        sizes = dict(zip(run.rows[run.starts].tolist(), run.sizes().tolist(), strict=True))
        for first, rows in seen.items():
            size = sizes[first]
            for start in range(0, 6 - size + 1, size):
                assert len(set(rows[start : start + size])) == size


@LAWS
@given(runs=placed_runs())
def test_a_pass_has_each_sample_in_one_bucket(runs: list[PlacedRun]) -> None:
    buckets = list(families(runs, "s", is_one_pass=True))
    found = [
        sample_of(runs, bucket, row)
        for bucket in buckets
        for row in bucket.selection.rows_at(np.arange(bucket.selection.num_rows)).tolist()
    ]
    assert sorted(found) == sorted({one for run in runs for one in run.samples.tolist()})
