"""Whole clips in pieces: the latents of the whole, and a clip that goes wrong costs itself."""

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latentcache.core.media import Bucket
from latentcache.decode import ImageLimits
from latentcache.encoders import Encoder, EncoderOptions, SampleMeta, apply_policy, load_encoder
from latentcache.evaluate.planned import find_sample, read_pixels
from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    SilentReporter,
    encode_column,
    plan_corpus,
)
from latentcache.runner.actor.column_worker import ColumnWorker, SharedTools
from latentcache.runner.decode.pixel_stream import UnitCancelledError
from latentcache.runner.encode.pinning import encoding_record, planned_buckets, planned_runs
from latentcache.runner.forward.encoded_rows import scaled_pixels
from latentcache.runner.messages.actor_setup import ActorSetup, ColumnSetup
from latentcache.runner.messages.unit_orders import UnitOrder, UnitOutcome
from latentcache.runner.workers.ray_workers import Ledger, RayActorCalls
from latentcache.stats import ColumnStatistics, merge_arrays
from latentcache.store import ColumnChange, ColumnView, Store, verify_snapshot
from latentcache.testing.drawn import MARK_RGB
from tests.decode.clips import draw_numbered
from tests.encoders.conftest import save_tiny  # noqa: F401  a fixture
from tests.runner.test_kill import title_of, workers_below

pytestmark = [pytest.mark.ray, pytest.mark.slow]

Digests = Callable[[Path], dict[str, tuple[str, str]]]
Prepare = Callable[[Path], Path]

SIDE_PX = 128
NUM_LONG, TASK_BYTES = 300, 10 * 2**20
"""Of the longest clip, and what one decode task may hold here: less than that clip."""
_FAKES = "latentcache.testing.clip_fakes"
_FAKE = f"{_FAKES}:FakeClipEncoder"


def write_video(path: Path, num_frames: int, *, marked: range = range(0)) -> None:
    """Write a video of numbered frames; those in ``marked`` are plain ``MARK_RGB``."""
    mark = np.broadcast_to(np.array(MARK_RGB, np.uint8), (SIDE_PX, SIDE_PX, 3))
    with av.open(str(path), "w") as output:
        options = {"g": "24", "preset": "ultrafast", "crf": "12"}
        stream = output.add_stream("libx264", rate=25, options=options)
        stream.width = stream.height = SIDE_PX
        stream.pix_fmt = "yuv444p"
        stream.codec_context.time_base = Fraction(1, 25)
        for number in range(num_frames):
            drawn = mark if number in marked else draw_numbered(number, (SIDE_PX, SIDE_PX))
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(drawn), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode())


@pytest.fixture(scope="module", autouse=True)
def _short_clips_are_long() -> Iterator[None]:
    """Let clips come from an actor that one task of the real size would hold."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("latentcache.runner.clips.clip_frames.MAX_TASK_BYTES", TASK_BYTES)
        yield


@pytest.fixture(scope="module")
def planned(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planned store of a long clip, a middling one with marked frames, and a short one."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "corpus").mkdir()
    write_video(folder / "corpus" / "long.mp4", NUM_LONG)
    write_video(folder / "corpus" / "marked.mp4", 150, marked=range(70, 80))
    write_video(folder / "corpus" / "short.mp4", 17)
    request = PlanRequest(
        corpus_url=str(folder / "corpus"),
        options=PlanOptions(resolution_px=SIDE_PX, clips="whole"),
        resources=Resources(),
    )
    plan_corpus(str(folder / "store"), request, reporter=SilentReporter())
    return folder / "store"


def copy_of(planned: Path, folder: Path) -> Path:
    """Return a store of its own with the same plan."""
    return Path(shutil.copytree(planned, folder / "store"))


class OneActor:
    """An encode actor's work on one store, in this process: no time goes into starting one."""

    def __init__(
        self, store: Path, encoder: str, *, column: str = "latents", **encode: object
    ) -> None:
        options = EncodeOptions(encoder=encoder, **encode)  # type: ignore[arg-type]  # shorthand
        self.worker = worker_of(options, str(store), column)
        self._store = Store.open(store)
        generations = self._store.generations()
        description = self.worker.describe(planned_buckets(planned_runs(generations)))
        request = EncodeRequest(column=column, encode=options, resources=Resources())
        asked = encoding_record(request, description, planned_runs(generations))
        self.record = self._store.write_encoding(asked)
        self.worker.begin(self.record)
        (generation,) = generations
        self.orders = [
            UnitOrder(
                unit=unit,
                column=column,
                corpus_url=generation.corpus_url,
                generation_digest=generation.digest,
            )
            for unit in generation.units(rows_per_unit=self.record.rows_per_unit)
        ]

    def run(self) -> list[UnitOutcome]:
        """Encode all units two at a time and publish them."""
        with ThreadPoolExecutor(2) as threads:
            outcomes = list(threads.map(self.worker.run_unit, self.orders))
        self._store.publish([ColumnChange(record=self.record, merge_statistics=merge_arrays)])
        return outcomes


def worker_of(options: EncodeOptions, store_url: str, column: str = "latents") -> ColumnWorker:
    own = ColumnSetup(column=column, encode=options, kept_url=store_url)
    setup = ActorSetup(
        store_url=store_url,
        columns=(own,),
        device="cpu",
        threads=1,
        budget_bytes=2**28,
        limits=ImageLimits(),
        time_limit_s=30.0,
    )
    calls = RayActorCalls(Ledger.remote())  # type: ignore[attr-defined]  # added by ray.remote
    return ColumnWorker(setup, own, SharedTools.of(setup, calls))


@pytest.fixture(scope="module")
def undisturbed(planned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a well-behaved fake."""
    store = copy_of(planned, tmp_path_factory.mktemp("undisturbed"))
    OneActor(store, _FAKE).run()
    return store


def column_of(store: Path, column: str = "latents") -> ColumnView:
    return Store.open(store).snapshot().column(column)


def stored(store: Path, column: str = "latents") -> dict[str, dict[str, NDArray[np.generic]]]:
    """Return the fields of each sample, by path."""
    view = column_of(store, column)
    return {
        find_sample(view, key).source.path: dict(fields)
        for key, _, _, fields in view.iter_samples()
    }


def encoded_whole(view: ColumnView, encoder: Encoder, path: str) -> dict[str, NDArray[np.generic]]:
    """Return what encoding one clip at once gives, stored as its encoding stores."""
    sample = find_sample(view, path)
    pixels = scaled_pixels(read_pixels(sample, view.record)[None], encoder)
    with torch.inference_mode():
        (raw,) = encoder.encode(pixels, [SampleMeta(key="")])
    fields = apply_policy(
        {name: values[None] for name, values in raw.items()},
        view.record.fields,
        policy=view.record.policy,  # type: ignore[arg-type]  # as read from the record
        seed=0,
        keys=[sample.key],
    )
    return {name: values[0].numpy() for name, values in fields.items()}


def test_a_clip_in_pieces_has_the_latents_of_the_whole(planned: Path, tmp_path: Path) -> None:
    store = copy_of(planned, tmp_path)
    outcomes = OneActor(store, "dct-video").run()
    assert [(each.num_present, each.num_rejected) for each in outcomes] == [(1, 0)] * 3
    view = column_of(store)
    longest = max(entry.unit.bucket.rgb_bytes for entry in view.units())
    assert longest > TASK_BYTES, "no clip came from an actor"
    assert {entry.unit.num_rows for entry in view.units()} == {1}
    assert verify_snapshot(Store.open(store).snapshot()).ok
    encoder = load_encoder("dct-video", EncoderOptions(device="cpu"))
    found = stored(store)
    assert sorted(found) == ["long.mp4", "marked.mp4", "short.mp4"]
    for path, fields in found.items():
        whole = encoded_whole(view, encoder, path)
        np.testing.assert_array_equal(fields["z"], whole["z"], err_msg=path)


def test_statistics_part_the_first_latent_frame_of_a_long_clip(undisturbed: Path) -> None:
    view = column_of(undisturbed)
    values = [fields["z"].astype(np.float64) for fields in stored(undisturbed).values()]
    primary = ColumnStatistics.from_arrays(view.statistics()).primary
    assert primary is not None
    for name, frames in (("first", slice(0, 1)), ("rest", slice(1, None))):
        statistics = primary.classes[name]  # type: ignore[index]  # names as plain text
        pooled = np.concatenate([each[:, frames].reshape(3, -1) for each in values], axis=1)
        np.testing.assert_allclose(statistics.moments.mean, pooled.mean(axis=1), rtol=1e-9)
        np.testing.assert_allclose(statistics.moments.variance, pooled.var(axis=1), rtol=1e-9)
        assert statistics.num_samples == 3
        assert statistics.num_frames == sum(each[:, frames].shape[1] for each in values)


def test_wan_in_pieces_has_the_bits_of_the_whole(
    planned: Path,
    save_tiny: Callable[..., Path],  # noqa: F811  the fixture
    tmp_path: Path,
) -> None:
    store = copy_of(planned, tmp_path)
    actor = OneActor(store, f"wan:{save_tiny('wan')}", policy="sample", is_offline=True)
    actor.orders = [min(actor.orders, key=lambda order: order.unit.bucket)]
    actor.worker.run_unit(actor.orders[0])
    Store.open(store).publish(
        [ColumnChange(record=actor.record, merge_statistics=merge_arrays)], allow_partial=True
    )
    ((path, fields),) = stored(store).items()
    assert path == "short.mp4"
    whole = encoded_whole(column_of(store), actor.worker._encoder.encoder, path)
    np.testing.assert_array_equal(fields["sample"], whole["sample"])


def test_zeros_after_the_first_frame_come_in_pieces_too(planned: Path, tmp_path: Path) -> None:
    store = copy_of(planned, tmp_path)
    OneActor(store, _FAKE, column="cond", input="first_frame+zeros").run()
    fake = load_encoder(_FAKE, EncoderOptions(device="cpu"))
    for path, fields in stored(store, "cond").items():
        sample = find_sample(column_of(store, "cond"), path)
        pixels = read_pixels(sample, column_of(store, "cond").record)[:1]
        clip = torch.zeros((1, 3, sample.bucket.num_frames, SIDE_PX, SIDE_PX))
        clip[:, :, :1] = scaled_pixels(pixels[None], fake)
        (whole,) = fake.encode(clip, [SampleMeta(key="")])
        np.testing.assert_array_equal(fields["z"], whole["z"].half().numpy(), err_msg=path)


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        pytest.param("NanClipEncoder", "non_finite: the encoder gives NaN", id="nan"),
        pytest.param("OverflowClipEncoder", "non_finite: its latent overflows", id="overflow"),
        pytest.param("FailingClipEncoder", "encoder_failed: the encoder fails", id="error"),
    ],
)
def test_an_encoder_that_goes_wrong_in_mid_clip_costs_that_clip(
    fake: str, reason: str, planned: Path, undisturbed: Path, tmp_path: Path
) -> None:
    store = copy_of(planned, tmp_path)
    outcomes = OneActor(store, f"{_FAKES}:{fake}").run()
    assert [each.num_present for each in outcomes].count(0) == 1
    (row,) = column_of(store).quarantine().to_pylist()
    assert (row["path"], row["stage"]) == ("marked.mp4", "encode")
    assert f"{row['code']}: {row['reason']}".startswith(reason)
    expected = stored(undisturbed)
    for path, fields in stored(store).items():
        np.testing.assert_array_equal(fields["z"], expected[path]["z"], err_msg=path)
    primary = ColumnStatistics.from_arrays(column_of(store).statistics()).primary
    assert primary is not None
    assert primary.classes["first"].num_samples == 2, "groups before the fault were counted"


@pytest.mark.parametrize("fake", ["FailingClipEncoder", "OutOfMemoryClipEncoder"])
def test_a_passing_fault_in_mid_clip_changes_no_byte(
    fake: str, planned: Path, undisturbed: Path, chosen_digests: Digests, tmp_path: Path
) -> None:
    store = copy_of(planned, tmp_path)
    OneActor(store, f"{_FAKES}:{fake}:once={tmp_path / 'struck'}").run()
    assert (tmp_path / "struck").exists(), "the fault never happened"
    assert chosen_digests(store) == chosen_digests(undisturbed)


def test_a_clip_that_kills_its_encoder_costs_itself_alone(
    planned: Path, undisturbed: Path, chosen_digests: Digests, tmp_path: Path
) -> None:
    store = copy_of(planned, tmp_path)
    encode = EncodeOptions(encoder=f"{_FAKES}:CrashingClipEncoder")
    request = EncodeRequest(
        column="latents", encode=encode, resources=Resources(num_actors=1, units_in_flight=3)
    )
    result = encode_column(str(store), request, reporter=SilentReporter())
    assert (result.encoded, result.quarantined) == (2, 1)
    view = column_of(store)
    (row,) = view.quarantine().to_pylist()
    assert (row["path"], row["code"], row["is_transient"]) == ("marked.mp4", "crashed", True)
    # The others were under way on the actor that died, and began anew.
    unit = next(str(entry.unit.unit) for entry in view.units() if not entry.num_present)
    digests, expected = chosen_digests(store), chosen_digests(undisturbed)
    assert {**digests, unit: expected[unit]} == expected


@pytest.mark.parametrize("times", [pytest.param(1, id="once"), pytest.param(2, id="twice")])
def test_a_decode_worker_that_dies_is_a_strike_for_its_clip_alone(
    times: int, planned: Path, undisturbed: Path, chosen_digests: Digests, tmp_path: Path
) -> None:
    store = copy_of(planned, tmp_path)
    actor = OneActor(store, f"{_FAKES}:SlowClipEncoder:seconds=0.02")
    stop = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        killing = thread.submit(kill_clip_workers, times, stop)
        try:
            actor.run()
        finally:
            stop.set()
        assert killing.result() == times, "no clip was decoded by an actor"
    if times == 1:
        assert chosen_digests(store) == chosen_digests(undisturbed)
        return
    (row,) = column_of(store).quarantine().to_pylist()
    assert (row["path"], row["stage"], row["code"]) == ("long.mp4", "decode", "crashed")
    assert row["is_transient"]


def kill_clip_workers(times: int, stop: threading.Event) -> int:
    """Kill processes of our Ray that decode a long clip; return how many came."""
    killed: set[int] = set()
    while len(killed) < times and not stop.wait(0.02):
        for pid in workers_below(os.getpid()):
            if pid not in killed and title_of(pid).startswith("ray::ClipWorker.next_group"):
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
                break
    return len(killed)


def test_a_stopped_clip_leaves_nothing_and_is_taken_up_from_its_start(
    planned: Path, undisturbed: Path, chosen_digests: Digests, tmp_path: Path
) -> None:
    store = copy_of(planned, tmp_path)
    actor = OneActor(store, f"{_FAKES}:SlowClipEncoder:seconds=0.02")
    longest = max(actor.orders, key=lambda order: order.unit.bucket)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(actor.worker.run_unit, longest)
        while not actor.worker.progress().under_way:
            threading.Event().wait(0.01)
            assert not running.done(), "the clip was over before it was stopped"
        actor.worker._shared.cancelled.set()
        with pytest.raises(UnitCancelledError):
            running.result()
    assert actor.worker.progress().under_way == 0
    assert not list(store.rglob("commits/*"))
    assert not [path for path in store.rglob("*") if path.name.startswith(".tmp.")]
    OneActor(store, _FAKE).run()
    assert chosen_digests(store) == chosen_digests(undisturbed)


def test_a_long_clip_that_is_cut_short_costs_itself_with_a_reason(
    planned: Path, undisturbed: Path, tmp_path: Path
) -> None:
    store = copy_of(planned, tmp_path)
    actor = OneActor(store, _FAKE)
    corpus = Path(shutil.copytree(actor.orders[0].corpus_url, tmp_path / "corpus"))
    whole = (corpus / "long.mp4").read_bytes()
    (corpus / "long.mp4").write_bytes(whole[: len(whole) // 2])
    write_video(corpus / "short.mp4", 12)
    actor.orders = [replace(order, corpus_url=str(corpus)) for order in actor.orders]
    actor.run()
    rows = {row["path"]: row for row in column_of(store).quarantine().to_pylist()}
    assert {path: row["code"] for path, row in rows.items()} == {
        "long.mp4": "truncated",
        "short.mp4": "changed",
    }
    assert "whose last frame is at 0.440 s" in rows["short.mp4"]["reason"]
    ((path, fields),) = stored(store).items()
    np.testing.assert_array_equal(fields["z"], stored(undisturbed)[path]["z"])


@pytest.mark.parametrize(
    ("fake", "num_frames", "reason"),
    [
        pytest.param("WholeClipEncoder", 10921, None, id="fits-whole"),
        pytest.param("WholeClipEncoder", 10925, "pieces: its fake norm spans", id="too-long"),
        pytest.param("FakeClipEncoder", 10925, None, id="in-pieces"),
        pytest.param("FakeClipEncoder", 22_371_329, "8.0 GiB of latents", id="too-long-for-a-tar"),
    ],
)
def test_what_cannot_come_in_pieces_is_refused_before_any_work(
    fake: str, num_frames: int, reason: str | None
) -> None:
    worker = worker_of(EncodeOptions(encoder=f"{_FAKES}:{fake}"), "")
    bucket = str(Bucket(num_frames, 128, 128))
    refusals = worker.describe({bucket: True}).refusals
    assert set(refusals) == ({bucket} if reason else set())
    assert reason is None or reason in refusals[bucket]
