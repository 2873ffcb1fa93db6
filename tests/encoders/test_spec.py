"""Frame rules and refusals: the cache keeps the rule, models only trim."""

from dataclasses import replace

import pytest

from latentcache.core.media import Bucket
from latentcache.encoders import list_encoders

SPECS = {facts.name: facts.spec for facts in list_encoders()}


@pytest.mark.parametrize(
    ("name", "num_frames", "spans"),
    [
        ("wan", 9, [(0, 1), (1, 5), (5, 9)]),
        ("cogvideox", 9, [(0, 1), (1, 5), (5, 9)]),
        ("ltx2", 17, [(0, 1), (1, 9), (9, 17)]),
        ("svd", 2, [(0, 1), (1, 2)]),
    ],
)
def test_first_frame_has_a_latent_of_its_own(
    name: str, num_frames: int, spans: list[tuple[int, int]]
) -> None:
    assert list(SPECS[name].frame_rule.latent_spans(num_frames)) == spans


def test_only_size_and_largest_size_are_enforced() -> None:
    fixed = replace(SPECS["dct"], fixed_size=(256, 256))
    assert fixed.refusal(Bucket(1, 256, 256)) is None
    assert "the only size" in (fixed.refusal(Bucket(1, 256, 264)) or "")
    limited = replace(SPECS["dct"], max_size_px=512)
    assert limited.refusal(Bucket(1, 512, 512)) is None
    assert "larger than" in (limited.refusal(Bucket(1, 512, 520)) or "")
