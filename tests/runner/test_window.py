"""The budget bounds the decoded pixels in flight, and never locks up."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from latentcache.runner.decode.byte_budget import ByteBudget


@given(st.integers(1, 100), st.lists(st.integers(1, 150), max_size=30))
def test_what_is_taken_stays_in_the_budget_unless_it_is_alone(
    size_bytes: int, asked: list[int]
) -> None:
    budget = ByteBudget(size_bytes)
    held: list[int] = []
    for num_bytes in asked:
        was_empty = budget.used_bytes == 0
        if budget.try_acquire(num_bytes):
            held.append(num_bytes)
            assert budget.used_bytes <= size_bytes or was_empty
        else:
            assert budget.used_bytes + num_bytes > size_bytes
        assert budget.used_bytes == sum(held)
        if len(held) > 2:
            budget.release(held.pop(0))


def test_a_waiter_goes_on_when_bytes_come_back_and_gives_up_when_cancelled() -> None:
    budget, cancelled, results = ByteBudget(10), threading.Event(), []
    assert budget.try_acquire(8)
    waiter = threading.Thread(target=lambda: results.append(budget.acquire(5, cancelled=cancelled)))
    waiter.start()
    budget.release(8)
    waiter.join(timeout=10)
    assert results == [True]
    cancelled.set()
    assert budget.acquire(50, cancelled=cancelled) is False
