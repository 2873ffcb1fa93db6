"""Where the time of a run went: stages that add up to all of it, commits counted one by one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.runner.messages.actor_setup import ActorProgress
from latentcache.runner.messages.run_times import RunTimes
from latentcache.runner.messages.stage_times import (
    COMMIT,
    COMMIT_BOUNDS_S,
    DECODE,
    ENCODE,
    STAGES,
    WAIT,
    WRITE,
    StageClock,
)
from latentcache.store import Store
from tests.runner.conftest import Build
from tests.runner.steps import InThreads

MOVES = st.tuples(st.integers(0, 2), st.sampled_from([*STAGES[:-1], "queued", "leave"]))


@given(st.lists(st.tuples(MOVES, st.floats(0.0, 100.0)), max_size=40))
def test_the_stages_add_up_to_the_whole_time_whatever_threads_do(
    steps: list[tuple[tuple[int, str], float]],
) -> None:
    now = [0.0]
    clock = StageClock(clock=lambda: now[0])
    with InThreads(3, clock) as threads:
        for (thread, stage), seconds in steps:
            threads.move(thread, stage)
            now[0] += seconds
        found = clock.times().seconds
    assert sum(found.values()) == pytest.approx(now[0])
    assert set(found) == set(STAGES)


@given(st.lists(st.sampled_from([ENCODE, DECODE, WRITE, COMMIT]), min_size=1, max_size=3))
def test_an_encoder_at_work_comes_first_and_pixels_that_are_awaited_before_commits(
    stages: list[str],
) -> None:
    now = [0.0]
    clock = StageClock(clock=lambda: now[0])
    with InThreads(len(stages), clock) as threads:
        for thread, stage in enumerate(stages):
            threads.move(thread, stage)
        now[0] += 1.0
        found = clock.times().seconds
    first = min(stages, key=STAGES.index)
    assert found == {**dict.fromkeys(STAGES, 0.0), first: 1.0}


def test_a_stage_in_a_stage_is_the_inner_one_until_it_ends() -> None:
    now = [0.0]
    clock = StageClock(clock=lambda: now[0])
    with clock.during(DECODE):
        now[0] += 1.0
        with clock.during(WRITE):
            now[0] += 2.0
        with clock.waiting_for_encoder():
            now[0] += 8.0
        now[0] += 4.0
    assert clock.times().seconds == {ENCODE: 0, DECODE: 5, WRITE: 2, COMMIT: 0, WAIT: 8}
    clock.restart()
    assert not any(clock.times().seconds.values())


@given(st.lists(st.floats(0.0, 1000.0), max_size=30))
def test_every_commit_is_in_one_class_and_the_classes_of_a_run_are_cumulative(
    seconds: list[float],
) -> None:
    clock = StageClock()
    for each in seconds:
        clock.committed(each, 10)
    found = RunTimes.of([_answer(clock), _answer(clock)])
    assert found.num_commits == found.commits_within_s["inf"] == 2 * len(seconds)
    for bound_s in COMMIT_BOUNDS_S:
        within = sum(each <= bound_s for each in seconds)
        assert found.commits_within_s[f"{bound_s:g}"] == 2 * within
    assert found.slowest_commit_s == max(seconds, default=0.0)
    assert found.stored_bytes == 20 * len(seconds)


def _answer(clock: StageClock) -> ActorProgress:
    return ActorProgress(
        rows_worked=0,
        rows_taken_up=0,
        rows_kept=0,
        under_way=0.0,
        source_bytes=0,
        decode_busy_s=1.5,
        tasks_pending=0,
        budget_used_bytes=0,
        batch_age_s=0.0,
        times=clock.times(),
    )


def test_what_held_the_encoders_up_is_named_where_they_were_held_up_for_long() -> None:
    def of(**seconds: float) -> RunTimes:
        whole = sum(seconds.values())
        full = {stage: seconds.get(stage, 0.0) for stage in STAGES}
        return RunTimes(seconds=full, shares={s: v / whole for s, v in full.items()})

    assert "CPU cores" in of(encode=10, decode=80, commit=5).advice
    assert "storage" in of(encode=10, decode=20, commit=60).advice
    assert of(encode=95, decode=5).advice == ""
    assert of(encode=1, decode=2).advice == ""


def test_a_run_says_where_its_time_went(
    drawn_corpus: Path, build_store: Build, tmp_path: Path
) -> None:
    result = build_store(drawn_corpus, tmp_path / "store")
    times, view = result.times, Store.open(tmp_path / "store").snapshot().columns["latents"]
    assert sum(times.shares.values()) == pytest.approx(1.0)
    assert times.num_commits == len(list(view.units()))
    assert times.stored_bytes == result.num_bytes
    assert times.seconds[ENCODE] > 0
    assert times.decode_core_s > 0
    assert times.slowest_commit_s >= times.commit_s > 0
    # Of each encoder at least the time from the first unit on, less the moment of the last answer.
    whole_s = sum(times.seconds.values())
    assert whole_s >= 0.5 * result.num_actors * result.elapsed_s
    assert build_store(drawn_corpus, tmp_path / "store").times == RunTimes()
