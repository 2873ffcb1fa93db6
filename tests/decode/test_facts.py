"""What libraries make of pixels is part of the fingerprint, and other libraries are refused."""

import pytest

from latentcache.core.errors import StoreError
from latentcache.core.fingerprint import fingerprint
from latentcache.decode import ImageTransform, MediaTransform, VideoTransform, pixel_rules
from latentcache.decode.clips.clip_facts import clip_facts
from latentcache.decode.library_facts import picture_facts


def test_every_way_to_pixels_has_a_digest() -> None:
    facts = picture_facts()
    assert set(facts) == {"avif", "cmyk", "icc", "jpeg", "jpeg2000", "resize", "webp"}
    assert len(set(facts.values())) == len(facts)
    assert picture_facts() == facts
    assert "none" not in facts.values()


def test_other_libraries_are_another_fingerprint() -> None:
    ours = MediaTransform(image=ImageTransform(), video=VideoTransform())
    other = MediaTransform(
        image=ImageTransform(libraries={**picture_facts(), "resize": "00000000"}),
        video=VideoTransform(),
    )
    assert fingerprint(ours.identity()) != fingerprint(other.identity())


def test_a_recorded_transform_keeps_the_libraries_that_made_it() -> None:
    other = MediaTransform(
        image=ImageTransform(libraries={"resize": "00000000"}),
        video=VideoTransform(libraries={"scaler": "11111111"}),
    )
    assert MediaTransform.from_identity(other.identity()) == other
    told = pixel_rules(other.identity())
    assert told == {"version": "2", "resize": "00000000", "video version": "2",
                    "video scaler": "11111111"}  # fmt: skip


def test_a_machine_that_makes_other_pixels_is_refused_with_both_sides() -> None:
    MediaTransform(image=ImageTransform(), video=VideoTransform()).check_libraries()
    other = MediaTransform(
        image=ImageTransform(libraries={**picture_facts(), "webp": "00000000"}),
        video=VideoTransform(libraries={**clip_facts(), "scaler": "11111111"}),
    )
    with pytest.raises(StoreError) as caught:
        other.check_libraries()
    assert "scaler 11111111, webp 00000000" in str(caught.value)
    assert f"scaler {clip_facts()['scaler']}, webp {picture_facts()['webp']}" in str(caught.value)


def test_rules_of_version_1_are_refused_with_the_way_out() -> None:
    old = {"kind": "image", "resize": "lanczos", "version": 1, "background": [255, 255, 255],
           "reducing_gap": 2.0}  # fmt: skip
    with pytest.raises(ValueError, match=r"version must be 2, got 1 .* use the release that wrote"):
        MediaTransform.from_identity(old)
    assert pixel_rules(old) == {"version": "1"}
