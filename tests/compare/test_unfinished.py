"""A comparison that is stopped goes on from there, and says how far it is and what is left."""

import json
import math
from pathlib import Path

import pytest

from latentcache.compare import CompareOptions, Comparison, ProbeOptions, Step, open_spaces
from latentcache.compare import run_comparison as run
from latentcache.compare.looks import probe_look, sample_reading
from latentcache.store import Store
from tests.evaluate.drawn_store import NUM_GOOD

_TIMES = ("decode_ms", "encode_ms")
QUICK = CompareOptions(probe=None, num_deep=4, num_shown=2)


def _stop_after(count: int) -> object:
    def on_step(step: Step) -> None:
        if step.done == count:
            raise KeyboardInterrupt

    return on_step


def _figures(found: Comparison) -> str:
    figures = [each for each in found.to_json()["figures"] if each["name"] not in _TIMES]
    return json.dumps([figures, found.to_json()["notes"]])


def test_a_stopped_comparison_goes_on_and_finds_the_same(
    two_spaces: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["latents", "coarse"]
    whole = run(open_spaces(two_spaces.folder.url, names), QUICK)
    with pytest.raises(KeyboardInterrupt):
        run(
            open_spaces(two_spaces.folder.url, names),
            QUICK,
            keep=tmp_path,
            on_step=_stop_after(7),  # type: ignore[arg-type]
        )
    assert [each.name.split(".")[1] for each in tmp_path.iterdir()] == ["unfinished"]
    decodes = []
    decode = sample_reading.SampleReader.pair

    def counted(*given: object, is_decoded: bool = True) -> object:
        decodes.append(is_decoded)
        return decode(*given, is_decoded=is_decoded)  # type: ignore[arg-type]

    monkeypatch.setattr(sample_reading.SampleReader, "pair", counted)
    again = run(open_spaces(two_spaces.folder.url, names), QUICK, keep=tmp_path)
    # Trials of the two spaces decode twice each; of the first space 7 samples are kept.
    assert sum(decodes) == 4 + 2 * NUM_GOOD - 7
    assert _figures(again) == _figures(whole)
    for ours, theirs in zip(again.spaces, whole.spaces, strict=True):
        assert set(ours.pictures) == set(theirs.pictures)
        for name, picture in ours.pictures.items():
            assert (picture == theirs.pictures[name]).all()
    assert not list(tmp_path.glob("*unfinished*"))


def test_time_is_stated_beforehand_and_runs_out(
    two_spaces: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_look, "MIN_CROPS", 8)
    probe = ProbeOptions(token_px=8, num_steps=4, num_seeds=2, num_generated=16, batch_size=8)
    options = CompareOptions(probe=probe, num_deep=1)
    told: list[tuple[str, float, float]] = []
    steps: list[Step] = []
    run(
        open_spaces(two_spaces.folder.url, ["latents", "coarse"]),
        options,
        on_expected=lambda all_: told.extend((e.name, e.samples_s, e.probe_s) for e in all_),
        on_step=steps.append,
    )
    assert [name for name, _, _ in told] == ["latents", "coarse"]
    assert all(math.isfinite(each) and each > 0 for row in told for each in row[1:])
    assert {(each.space, each.stage) for each in steps} == {
        (space, stage) for space in ("latents", "coarse") for stage in ("samples", "probe")
    }
    trained = [each.done for each in steps if each.stage == "probe" and each.space == "coarse"]
    assert trained == list(range(1, 9))
    assert steps[-1].left_s == 0
    assert steps[0].left_s > steps[-5].left_s


def test_some_are_decoded_the_same_ones_of_every_space_and_it_is_said(two_spaces: Store) -> None:
    options = CompareOptions(probe=None, num_decoded=5, num_deep=2)
    found = run(open_spaces(two_spaces.folder.url, ["latents", "coarse"]), options)
    rows = {row.figure.name: row for row in found.rows}
    assert {each.num_samples for each in rows["psnr_db"].estimates.values()} == {5}
    assert rows["psnr_db"].differences["latents", "coarse"].num_samples == 5
    assert rows["spectrum_slope"].estimates["latents"].num_samples == NUM_GOOD
    assert any(
        each.startswith(f"errors of pixels are of 5 of the {NUM_GOOD} samples")
        for _, each in found.notes["fidelity"]
    )
