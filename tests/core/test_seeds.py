"""Keyed draws depend on the seed and the names, and on nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.seeds import keyed_uint64, keyed_uniform, new_write_id

_NAMES = st.lists(st.text(max_size=8), max_size=3)
_SEEDS = st.integers(-(2**63), 2**63 - 1)


@given(_SEEDS, _NAMES, _NAMES)
def test_other_names_are_another_draw(seed: int, one: list[str], other: list[str]) -> None:
    assert (keyed_uint64(seed, *one) == keyed_uint64(seed, *other)) == (one == other)


@given(_SEEDS)
def test_draws_lie_in_the_unit_interval(seed: int) -> None:
    assert 0.0 <= keyed_uniform(seed, "x") < 1.0


def test_a_draw_never_changes() -> None:
    assert keyed_uint64(7, "placement", 3) == 5669974943502365994


def test_write_ids_differ() -> None:
    assert len({new_write_id() for _ in range(1000)}) == 1000
