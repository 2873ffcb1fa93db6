import json

import click
import pytest

from latentcache.cli.build import build
from latentcache.cli.results import print_encode_results
from latentcache.runner import EncodeResult


def result(**changes: object) -> EncodeResult:
    values: dict[str, object] = {
        "column": "latents",
        "encoding": "f" * 32,
        "snapshot": 4,
        "planned": 1000,
        "encoded": 990,
        "quarantined": 10,
        "missing": 0,
        "num_bytes": 5_000_000,
        "newly_encoded": 495,
        "newly_quarantined": 5,
        "elapsed_s": 50.0,
        "num_actors": 2,
        "threads": 1,
        "device_type": "cpu",
    }
    return EncodeResult(**{**values, **changes})


def test_a_run_ends_with_the_sum_that_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(build) as context:
        print_encode_results(context, [result()], as_json=False)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "latents: 990 encoded + 10 quarantined = 1,000 planned, 5 MB"
    assert shown[1] == "this run: 500 samples in 50 s, 10 samples/s with 2 encoders on cpu"
    assert shown[2].startswith("snapshot 4 serves it")
    assert "--quarantined" in shown[3]


def test_what_is_missing_is_part_of_the_sum(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(build) as context:
        print_encode_results(
            context, [result(encoded=900, missing=90, snapshot=None)], as_json=False
        )
    shown = capsys.readouterr().out
    assert "900 encoded + 10 quarantined + 90 missing = 1,000 planned" in shown
    assert "serves it" not in shown


@pytest.mark.parametrize("as_json", [False, True])
def test_too_large_a_quarantine_leaves_with_3_after_telling_the_result(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    over = result(limit_sentence="quarantine must be at most 5 %, got 40 %")
    with click.Context(build) as context, pytest.raises(click.exceptions.Exit) as left:
        print_encode_results(context, [over], as_json=as_json)
    assert left.value.exit_code == 3
    streams = capsys.readouterr()
    assert streams.err == "error: quarantine must be at most 5 %, got 40 %\n"
    if as_json:
        assert json.loads(streams.out)["is_over_limit"] is True
    else:
        assert "serves it" in streams.out
