"""How long a comparison takes: tried on one sample beforehand, then told as it goes on."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from latentcache.compare.compare_options import CompareOptions
from latentcache.compare.looks.deep_values import SMOOTHNESS_PX
from latentcache.compare.looks.pixel_look import PixelLook
from latentcache.compare.looks.probe_look import CROPS_OF_A_SAMPLE, are_enough_crops
from latentcache.compare.looks.sample_reading import SampleReader, has_grid
from latentcache.compare.looks.seen import Seen
from latentcache.compare.metrics.probe import probe_seconds
from latentcache.compare.spaces import Space
from latentcache.core.errors import MediaError, StoreError
from latentcache.core.media import Bucket
from latentcache.evaluate import PlannedSample

Stage = Literal["samples", "probe"]

_DEEP_CODES = 3.25
"""Codes of a whole sample in a deep look: encoded, turned, halved, decoded unrounded."""
_NOISY_DECODES = 6
_TRUSTED_S = 5.0
"""After so much of a stage its own pace is believed, not the trial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What one space is expected to take on this machine.

    Attributes:
        name: Of the space.
        samples_s: Reading, decoding and scoring its samples.
        probe_s: Training the probe and judging its samples; 0 of none.
        num_decoded: Samples to decode.
        is_kept: It was measured before and is only read.
    """

    name: str
    samples_s: float = 0.0
    probe_s: float = 0.0
    num_decoded: int = 0
    is_kept: bool = False

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.samples_s + self.probe_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a comparison is.

    Attributes:
        space: That is measured.
        stage: ``samples`` as they come by, or steps of the ``probe``, all seeds together.
        done: Of the stage.
        total: Of the stage.
        left_s: Of the whole comparison, about.
    """

    space: str
    stage: Stage
    done: int
    total: int
    left_s: float


OnExpected = Callable[[Sequence[Expected]], None]
OnStep = Callable[[Step], None]
OnStage = Callable[[Stage, int, int], None]


class Pace:
    """Says how far a comparison is and what is left of it."""

    def __init__(self, expected: Sequence[Expected], on_step: OnStep) -> None:
        self._expected, self._on_step = list(expected), on_step
        self._stage: tuple[str, Stage] | None = None
        self._began_s, self._first = 0.0, 0

    def of_space(self, name: str) -> OnStage:
        """Return what is told of one space's stages."""

        def on_stage(stage: Stage, done: int, total: int) -> None:
            if self._stage != (name, stage):
                self._stage, self._began_s, self._first = (name, stage), time.monotonic(), done
            left_s = self._left_s(name, stage, done, total)
            self._on_step(Step(space=name, stage=stage, done=done, total=total, left_s=left_s))

        return on_stage

    def _left_s(self, name: str, stage: Stage, done: int, total: int) -> float:
        place = next(at for at, each in enumerate(self._expected) if each.name == name)
        ours, later = self._expected[place], self._expected[place + 1 :]
        expected_s = ours.samples_s if stage == "samples" else ours.probe_s
        elapsed_s, seen = time.monotonic() - self._began_s, done - self._first
        if elapsed_s > _TRUSTED_S and seen > 0:
            left_s = elapsed_s / seen * (total - done)
        else:
            left_s = expected_s * (1 - done / max(1, total))
        after_s = ours.probe_s if stage == "samples" else 0.0
        return left_s + after_s + sum(each.seconds for each in later)


def expected_of(
    space: Space,
    samples: Mapping[str, PlannedSample],
    keys: Sequence[str],
    options: CompareOptions,
) -> Expected:
    """Return what a space will take, tried on its first sample.

    Decoding is timed on the second of two decodes, unless the first takes long.
    """
    reader = SampleReader(space, corpus_url=options.corpus_url)
    sample = next((samples[key] for key in keys if key in samples), None)
    decoded, deep = options.places_decoded(len(keys)), options.places_deep(len(keys))
    if sample is None:
        return Expected(name=space.name)
    bucket = reader.bucket(sample)
    try:
        fields = reader.fields(sample)
        began = time.perf_counter()
        pair = reader.pair(sample, fields)
        if time.perf_counter() - began < _TRUSTED_S:
            pair = reader.pair(sample, fields)
        read_s = time.perf_counter() - began
    except (MediaError, StoreError):
        return Expected(name=space.name)
    latent = reader.latent(fields)
    began = time.perf_counter()
    looker = PixelLook(1, (0,), num_shown=1)
    looker.see(Seen(place=0, sample=sample, fields=fields, latent_CTHW=latent, pair=pair))
    score_s, decode_s = time.perf_counter() - began, pair.decode_s
    share = min(1.0, SMOOTHNESS_PX**2 / (bucket.height_px * bucket.width_px))
    has_deep = bool(set(options.sections) & {"fidelity", "modelability", "cost"})
    deep_s = (_DEEP_CODES + _NOISY_DECODES * share) * decode_s if has_deep else 0.0
    return Expected(
        name=space.name,
        samples_s=len(keys) * min(read_s / 2, 0.02)
        + len(decoded) * (decode_s + score_s)
        + len(deep) * deep_s,
        probe_s=_probe_s(reader, latent, bucket, decode_s, options)
        if are_enough_crops(CROPS_OF_A_SAMPLE * len(keys))
        else 0.0,
        num_decoded=len(decoded),
    )


def _probe_s(
    reader: SampleReader,
    latent_CTHW: torch.Tensor | None,
    bucket: Bucket,
    decode_s: float,
    options: CompareOptions,
) -> float:
    """Return what the probe will take, or 0 where there will be none."""
    probe = options.probe
    if probe is None or latent_CTHW is None or not has_grid(reader.field.axes):
        return 0.0
    if reader.space.encoder is None or "modelability" not in options.sections:
        return 0.0
    cell = bucket.width_px // latent_CTHW.shape[-1]
    if cell < 1 or probe.token_px % cell or min(bucket.height_px, bucket.width_px) < probe.crop_px:
        return 0.0
    share = probe.crop_px**2 / (bucket.height_px * bucket.width_px * bucket.num_frames)
    decodes_s = probe.num_seeds * probe.num_generated * decode_s * share
    return decodes_s + probe_seconds(latent_CTHW.shape[0], probe.token_px // cell, probe)
