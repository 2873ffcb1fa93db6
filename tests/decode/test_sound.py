"""The sound of a window: its own, in time, whole or told to be less, by weights that are ours."""

from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from latentcache.core.errors import ConfigError, MediaError
from latentcache.decode import SoundRule, WindowSound, clip_sound, decode_sound
from latentcache.decode.sound.sound_rule import mixing_matrix

RATE = 48_000
SAME = SoundRule(rate_hz=RATE, channels=1)
FIVE_ONE = ("FL", "FR", "FC", "LFE", "SL", "SR")


def drawn(seconds: float, channels: int = 1, rate: int = RATE) -> NDArray[np.float32]:
    """Return noise that begins at a third of the time; silence before, [N, channels]."""
    noise = np.random.default_rng(5).normal(0, 0.2, (round(seconds * rate), channels))
    noise[: len(noise) // 3] = 0
    return noise.astype(np.float32)


def written(
    samples: NDArray[np.float32],
    *,
    format: str = "mov",
    codec: str = "pcm_f32le",
    layout: str = "mono",
    rate: int = RATE,
    late_s: float = 0.0,
) -> bytes:
    """Return a file of one track of sound."""
    file = BytesIO()
    with av.open(file, "w", format=format) as container:
        stream: Any = container.add_stream(codec, rate=rate, layout=layout)
        packed = AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=layout)
        packed.sample_rate, packed.time_base = rate, Fraction(1, rate)
        fit = av.AudioResampler(
            format=stream.format, layout=layout, rate=rate, frame_size=stream.frame_size or 1024
        )
        count = round(late_s * rate)
        for frame in [*fit.resample(packed), *fit.resample(None)]:
            frame.pts, frame.time_base = count, Fraction(1, rate)
            count += frame.samples
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def heard(data: bytes, start_s: float, duration_s: float, rule: SoundRule = SAME) -> WindowSound:
    found = decode_sound(BytesIO(data), start_s, duration_s, rule)
    assert found is not None
    assert found.samples.shape == (rule.channels, rule.num_samples(duration_s))
    return found


def test_a_window_holds_the_samples_of_its_time() -> None:
    samples = drawn(2.0)
    data = written(samples)
    for start in (0.0, 0.25, 1.1):
        found = heard(data, start, 0.5)
        first = round(start * RATE)
        assert_array_equal(found.samples[0], samples[first : first + RATE // 2, 0])
        assert found.is_whole


@pytest.mark.parametrize(
    ("format", "codec", "tolerance_s"),
    [
        pytest.param("mp4", "aac", 0.0005, id="aac"),
        pytest.param("matroska", "flac", 0.0005, id="flac-mkv"),
        pytest.param("webm", "libopus", 0.008, id="opus"),
        pytest.param("mpegts", "aac", 0.0005, id="ts-of-a-clock-that-begins-late"),
    ],
)
def test_sound_lies_at_its_time_in_lossy_files_too(
    format: str, codec: str, tolerance_s: float
) -> None:
    samples = drawn(3.0)
    data = written(samples, format=format, codec=codec)
    begin_s = 0.0
    if format == "mpegts":  # its clock begins at 1.4 s, with what AAC needs to set out
        with av.open(BytesIO(data)) as container:
            begin_s = (container.start_time or 0) / av.time_base + 1024 / RATE
    found = heard(data, begin_s, 3.0).samples[0]
    lags = np.arange(-1000, 1001)
    ours, theirs = found[RATE : 2 * RATE], samples[RATE : 2 * RATE, 0]
    scores = [float(np.dot(np.roll(theirs, lag)[2000:-2000], ours[2000:-2000])) for lag in lags]
    assert abs(lags[int(np.argmax(scores))]) / RATE <= tolerance_s


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_windows_side_by_side_are_the_whole_at_another_rate(rate: int) -> None:
    data = written(drawn(2.0, 2), layout="stereo")
    rule = SoundRule(rate_hz=rate, channels=2)
    whole = heard(data, 0.2, 1.6, rule).samples
    parts = [heard(data, 0.2 + 0.4 * at, 0.4, rule).samples for at in range(4)]
    assert_array_equal(np.concatenate(parts, axis=1), whole)


def test_what_the_file_lacks_of_a_window_is_silence_and_told() -> None:
    samples = drawn(1.0)
    short = heard(written(samples), 0.75, 1.0)
    assert (short.lead_s, short.tail_s) == (0.0, pytest.approx(0.75, abs=1e-3))
    assert not short.samples[0, RATE // 4 + 1 :].any()
    late = heard(written(samples, format="matroska", codec="flac", late_s=0.5), 0.25, 0.5)
    assert (late.lead_s, late.tail_s) == (pytest.approx(0.25, abs=2e-3), 0.0)
    beyond = heard(written(samples), 5.0, 0.5)
    assert (beyond.lead_s, beyond.tail_s) == (0.5, 0.5)
    assert not beyond.samples.any()


def test_a_file_without_a_track_has_none_and_one_that_is_damaged_says_so() -> None:
    file = BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream: Any = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert decode_sound(BytesIO(file.getvalue()), 0.0, 1.0, SAME) is None
    with pytest.raises(MediaError, match="sound cannot be decoded: "):
        decode_sound(BytesIO(b"no sound" * 99), 0.0, 1.0, SAME)


def test_loud_sound_is_not_clipped() -> None:
    loud = np.clip(drawn(0.5), 0, None) + 1.5
    assert_array_equal(heard(written(loud), 0.1, 0.2).samples[0], loud[4800:14400, 0])


def test_channels_are_mixed_by_weights_that_sum_to_one() -> None:
    both = drawn(0.5, 2)
    data = written(both, layout="stereo")
    mono = heard(data, 0.0, 0.5).samples[0]
    np.testing.assert_allclose(mono, both.mean(axis=1), atol=1e-7)
    one = drawn(0.5)
    two = heard(written(one), 0.0, 0.5, SoundRule(rate_hz=RATE, channels=2)).samples
    assert_array_equal(two, np.repeat(one.T, 2, axis=0))
    for channels in (("FC",), ("FL", "FR"), FIVE_ONE, (*FIVE_ONE, "BL", "BR")):
        for num_out in (1, 2):
            matrix = mixing_matrix(channels, num_out)
            assert matrix is not None
            np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    assert mixing_matrix(("AMBI0", "AMBI1"), 1) is None


def test_files_joined_byte_by_byte_are_refused() -> None:
    one = written(drawn(1.0), format="mpegts", codec="aac")
    with pytest.raises(MediaError, match="times of the sound fall back midway"):
        decode_sound(BytesIO(one + one), 1.4, 3.0, SAME)


def test_a_rule_that_makes_no_sound_is_refused() -> None:
    with pytest.raises(ConfigError, match="channels must be 1 or 2"):
        SoundRule(rate_hz=24_000, channels=6)
    with pytest.raises(ConfigError, match="rate_hz must be"):
        SoundRule(rate_hz=24, channels=1)


def film(*, format: str, codec: str, picture_s: float) -> bytes:
    """Return ten pictures a second from ``picture_s`` on, and noise that begins at 1.5 s."""
    file = BytesIO()
    noise = drawn(4.5)
    with av.open(file, "w", format=format) as container:
        pictures: Any = container.add_stream("libx264", rate=10, options={"bf": "2"})
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound: Any = container.add_stream(codec, rate=RATE, layout="mono")
        for number in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 5 * number, np.uint8))
            frame.pts, frame.time_base = number + round(10 * picture_s), Fraction(1, 10)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        packed = AudioFrame.from_ndarray(noise.reshape(1, -1), format="flt", layout="mono")
        packed.sample_rate, packed.time_base = RATE, Fraction(1, RATE)
        fit = av.AudioResampler(
            format=sound.format, layout="mono", rate=RATE, frame_size=sound.frame_size or 1024
        )
        count = 0
        for part in [*fit.resample(packed), *fit.resample(None)]:
            part.pts, part.time_base = count, Fraction(1, RATE)
            count += part.samples
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("picture_s", [0.0, 0.5])
@pytest.mark.parametrize(
    ("format", "codec", "tolerance_s"),
    [("mp4", "aac", 0.002), ("matroska", "libopus", 0.01), ("mpegts", "aac", 0.002)],
)
def test_a_clip_s_sound_is_counted_from_the_first_picture_as_the_clip_is(
    format: str, codec: str, tolerance_s: float, picture_s: float
) -> None:
    data = film(format=format, codec=codec, picture_s=picture_s)
    found = clip_sound(BytesIO(data), 0.8, 1.0, SAME, size_bytes=len(data))
    assert found is not None
    loud = np.abs(found.samples[0]) > 0.25  # codecs ring a little before
    begins_s = int(np.argmax(loud)) / RATE
    assert begins_s == pytest.approx(1.5 - picture_s - 0.8, abs=tolerance_s)
