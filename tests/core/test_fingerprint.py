"""Equal things have one fingerprint, however they were written down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.fingerprint import canonical_json, fingerprint

_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


@given(st.dictionaries(st.text(), _PLAIN, max_size=6))
def test_key_order_is_no_difference(values: dict[str, object]) -> None:
    backwards = dict(reversed(list(values.items())))
    assert fingerprint(values) == fingerprint(backwards)


@given(_PLAIN, _PLAIN)
def test_different_texts_have_different_fingerprints(one: object, other: object) -> None:
    same_text = canonical_json(one) == canonical_json(other)
    assert (fingerprint(one) == fingerprint(other)) == same_text


def test_nan_and_unknown_types_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        fingerprint({"x": float("nan")})
    with pytest.raises(TypeError, match="plain data"):
        fingerprint({"x": object()})


def test_sets_have_an_order() -> None:
    assert canonical_json({"b", "a"}) == '["a","b"]'
