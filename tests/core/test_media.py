"""Keys name a sample for ever; buckets are read back as they were written."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentcache.core.errors import MediaError
from latentcache.core.media import Bucket, SourceRef, sample_key
from latentcache.core.rejects import Reject, RejectCode

_SIZES = st.integers(1, 10_000)


@given(_SIZES, _SIZES, _SIZES)
def test_buckets_are_read_back(frames: int, height: int, width: int) -> None:
    bucket = Bucket(frames, height, width)
    assert Bucket.parse(str(bucket)) == bucket


@pytest.mark.parametrize("text", ["", "1x2", "0x1x1", "1x2x3x4", "1x-2x3", "axbxc"])
def test_other_texts_are_no_buckets(text: str) -> None:
    with pytest.raises(ValueError, match="bucket must be TxHxW"):
        Bucket.parse(text)


def test_a_key_is_20_hex_digits_of_path_member_and_window_alone() -> None:
    source = SourceRef(path="a/b.tar", member="x.jpg", offset_bytes=512, size_bytes=9)
    moved = SourceRef(path="a/b.tar", member="x.jpg", offset_bytes=1024, size_bytes=9)
    assert sample_key(source) == sample_key(moved) == "e2cbfd4e94fb8956f415"
    others = {
        sample_key(SourceRef(path="a/b.tar", member="y.jpg")),
        sample_key(SourceRef(path="a/b.tarx.jpg")),
        sample_key(source, window="0-17"),
        sample_key(source),
    }
    assert len(others) == 4


def test_a_media_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(MediaError("empty", "no bytes", is_transient=True)))
    assert (error.code, str(error), error.is_transient) == ("empty", "no bytes", True)


def test_reject_codes_are_numbers_that_never_change() -> None:
    assert {code.word: int(code) for code in RejectCode} == {
        "none": 0, "unreadable": 1, "empty": 2, "not_media": 3, "truncated": 4, "corrupt": 5,
        "bomb": 6, "unsupported": 7, "too_small": 8, "too_narrow": 9, "not_an_image": 10,
        "size_mismatch": 11, "timed_out": 12, "crashed": 13, "non_finite": 14,
        "encoder_failed": 15, "duplicate": 16, "changed": 17, "bad_record": 18, "too_short": 19,
        "stands_still": 20, "retired": 21, "absent": 22,
    }  # fmt: skip


def test_an_unknown_code_or_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="code must be"):
        Reject(code="odd", stage="scan", reason="x")
    with pytest.raises(ValueError, match="stage must be"):
        Reject(code="empty", stage="load", reason="x")


def test_a_label_is_width_first_and_a_name_is_as_files_have_it() -> None:
    assert (str(Bucket(1, 480, 832)), Bucket(1, 480, 832).label) == ("1x480x832", "832x480")
    assert Bucket(81, 480, 832).label == "832x480, 81 frames"
