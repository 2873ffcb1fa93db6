"""No clip's latents ever carry another clip's key, in whatever order, whatever is killed."""

import json
import os
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from latentcache.core.media import SourceRef, sample_key
from latentcache.encoders import EncoderOptions, load_encoder
from latentcache.evaluate.recorded import decode_fields
from latentcache.plan import Clip, PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    RunProgress,
    RunStoppedError,
    SilentReporter,
    build,
)
from latentcache.store import Store
from tests.decode.clips import encode_clip, read_number
from tests.runner.test_kill import title_of, workers_below

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_VIDEOS, NUM_FRAMES, RATE = 8, 32, 25.0
WINDOWS = [(video, first) for video in range(NUM_VIDEOS) for first in range(0, 28, 3)]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos whose every frame says which one of which video it is."""
    folder = tmp_path_factory.mktemp("numbered")
    for video in range(NUM_VIDEOS):
        data = encode_clip(
            NUM_FRAMES,
            options={"g": "12", "bf": "2"},
            size_px=(64, 64),
            first_number=video * NUM_FRAMES,
        )
        (folder / f"{video}.mp4").write_bytes(data)
    return folder


@dataclass(slots=True)
class Disturber(SilentReporter):
    """Kills a worker of this run that bears a title, or stops the run after some looks at it."""

    victim: str = ""
    looks: int = -1

    def update(self, progress: RunProgress) -> None:
        """Count, kill, stop."""
        if progress.stage != "encode":
            return
        titles = {pid: title_of(pid) for pid in workers_below(os.getpid())}
        pids = [pid for pid, title in titles.items() if self.victim and self.victim in title]
        if pids:
            os.kill(pids[0], signal.SIGKILL)
            self.victim = ""
        if self.looks == 0:
            raise KeyboardInterrupt
        self.looks -= 1


def run(corpus: Path, store: Path, reporter: SilentReporter) -> None:
    resources = Resources(num_actors=1)
    options = PlanOptions(resolution_px=64, frames=(5,), rows_per_shard=4)
    build(
        str(store),
        PlanRequest(corpus_url=str(corpus), options=options, resources=resources),
        EncodeRequest(
            column="latents", encode=EncodeOptions(encoder="dct-video"), resources=resources
        ),
        reporter=reporter,
    )


def check(store: Path, listed: list[tuple[int, int]]) -> None:
    """Compare each key with the clip that its own latents show."""
    encoder = load_encoder("dct-video", EncoderOptions())
    shown = []
    for key, _, _, fields in Store.open(store).snapshot().column("latents").iter_samples():
        video, first = divmod(read_number(decode_fields(encoder, fields)[0]), NUM_FRAMES)
        clip = Clip(start_s=first / RATE, num_frames=5, frame_rate_fps=RATE)
        assert key == sample_key(SourceRef(path=f"{video}.mp4"), window=clip.window)
        shown.append((video, first))
    assert sorted(shown) == sorted(listed)


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    listed=st.lists(st.sampled_from(WINDOWS), min_size=20, max_size=40, unique=True),
    victim=st.sampled_from(["ray::EncodeWorker", "ray::decode_rows", ""]),
    looks=st.integers(0, 2),
)
def test_the_latents_under_a_key_are_those_of_its_clip(
    videos: Path, local_ray: None, listed: list[tuple[int, int]], victim: str, looks: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        rows = [
            {"path": f"{video}.mp4", "start_s": first / RATE, "end_s": (first + 5) / RATE}
            for video, first in listed
        ]
        (corpus / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
        for video in range(NUM_VIDEOS):
            (corpus / f"{video}.mp4").symlink_to(videos / f"{video}.mp4")
        store = Path(folder) / "store"
        if not victim:
            with pytest.raises(RunStoppedError):
                run(corpus / "clips.jsonl", store, Disturber(looks=looks))
        run(corpus / "clips.jsonl", store, Disturber(victim=victim))
        check(store, listed)
