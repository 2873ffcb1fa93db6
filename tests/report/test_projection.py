"""What a million images would take: by hand."""

import pytest

from latentcache.encoders import list_encoders
from latentcache.report.projection import project
from latentcache.report.wording import (
    format_bytes,
    format_count,
    format_number,
    format_seconds,
    format_share,
)


def test_sdxl_takes_what_arithmetic_says() -> None:
    projection = project(list_encoders(), sizes_px=(512,), names=("sdxl",))
    (sdxl,) = projection.encoders
    mean = 4 * 64 * 64 * 2
    assert sdxl.latent.split()[::2] == ["4", "64", "64"]
    assert sdxl.num_bytes[0] == pytest.approx(1e6 * 2 * mean, rel=0.05)
    assert sdxl.mode_bytes[0] == pytest.approx(1e6 * mean, rel=0.1)
    assert projection.rgb_bytes == (1_000_000 * 512 * 512 * 3,)


def test_every_projected_encoder_is_known() -> None:
    names = [one.name for one in project(list_encoders()).encoders]
    assert names == ["sdxl", "sd3", "flux", "flux2", "dc", "wan", "wan22"]


def test_deterministic_encoder_has_no_second_half() -> None:
    (dc,) = project(list_encoders(), names=("dc",)).encoders
    assert dc.num_bytes == dc.mode_bytes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(format_bytes(0), "0 B", id="no-bytes"),
        pytest.param(format_bytes(999), "999 B", id="bytes"),
        pytest.param(format_bytes(999_600), "1.0 MB", id="rounds-up-a-unit"),
        pytest.param(format_bytes(123_456_789), "123 MB", id="no-false-digits"),
        pytest.param(format_bytes(2e18), "2000 PB", id="largest-unit"),
        pytest.param(format_count(1_234_567), "1,234,567", id="count"),
        pytest.param(format_share(0, 10), "0 %", id="none"),
        pytest.param(format_share(1, 1_000_000), "under 0.1 %", id="few"),
        pytest.param(format_share(3, 243), "1.2 %", id="some"),
        pytest.param(format_share(10, 10), "100 %", id="all"),
        pytest.param(format_number(0.12345), "0.123", id="small"),
        pytest.param(format_number(-123.456), "-123.5", id="hundreds"),
        pytest.param(format_number(1e-9), "1.00e-09", id="tiny"),
        pytest.param(format_number(0), "0", id="zero"),
        pytest.param(format_seconds(8.24), "8.2 s", id="seconds"),
        pytest.param(format_seconds(185), "3 min 5 s", id="minutes"),
    ],
)
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected
