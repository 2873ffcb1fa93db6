"""What an encoder costs on this machine: some planned samples are encoded, nothing is stored."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from latentcache.core.frames import FrameRule
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.decode import ImageLimits
from latentcache.runner.decode.batch_collector import decode_rows_of
from latentcache.runner.decode.decode_tasks import (
    MAX_TASK_BYTES,
    DecodedRows,
    DecodeOrder,
    DecodeRow,
    DecodeSettings,
    decode_rows_to_measure,
    rows_per_task,
)
from latentcache.runner.encode.actor_pool import ActorPool
from latentcache.runner.encode.loaded_pool import choose_run_device
from latentcache.runner.messages.actor_setup import ActorSetup, ColumnSetup
from latentcache.runner.messages.calls import Workers
from latentcache.runner.run_options import EncodeOptions, Resources
from latentcache.storage import Folder

_MEASURED = "measured"
"""Name of the column that nothing is stored of."""

BytesOf = Callable[[Bucket], int | None]
"""What one sample of a bucket takes in a tar, or None where the encoder does not take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPlan:
    """The samples that are measured.

    Attributes:
        runs: Of the plan.
        tables: Gives its rows, in order; may be asked again.
        corpus: Root of their sources.
    """

    runs: Sequence[BucketRun]
    tables: Callable[[], Iterable[pa.Table]]
    corpus: Folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one encoder costs on this machine.

    Attributes:
        encoder: As typed.
        bucket: Where encoding was measured: the one with most pixels in the plan, cut to a
            few frames where its clips are long.
        picture_decode_s: CPU seconds per picture, reading included; None if there are none.
        frame_decode_s: CPU seconds per frame of a clip, reading and seeking included; None
            if there are no clips.
        encode_s: Seconds per sample of ``bucket``, of one encoder at the batch size of a run.
        num_cpus: Cores that would decode.
        num_gpus: Encoders that would run; 0 if they share the cores with decoding.
    """

    encoder: str
    bucket: Bucket
    picture_decode_s: float | None
    frame_decode_s: float | None
    encode_s: float
    num_cpus: int
    num_gpus: int

    def total_s(self, runs: Sequence[BucketRun]) -> float:
        """Return seconds for all of ``runs``: decoding goes by frames, encoding by pixels."""
        decode_total_s = sum(run.num_rows * self._decode_s(run.bucket) for run in runs)
        num_pixels = sum(run.num_rows * run.bucket.num_pixels for run in runs)
        encode_total_s = num_pixels * self.encode_s / self.bucket.num_pixels
        if not self.num_gpus:
            return (decode_total_s + encode_total_s) / self.num_cpus
        return max(decode_total_s / self.num_cpus, encode_total_s / self.num_gpus)

    def _decode_s(self, bucket: Bucket) -> float:
        one_s = self.frame_decode_s if is_of_clips(bucket) else self.picture_decode_s
        return (one_s or 0.0) * bucket.num_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderEstimate:
    """One encoder: what the whole plan takes.

    Attributes:
        name: As on the command line.
        bytes: Of all samples in their tars; of the buckets it takes alone if it refuses some.
        hours: On the machine where it was measured; None where it was not.
        refused: Buckets that do not fit the encoder.
    """

    name: str
    bytes: int
    hours: float | None
    refused: tuple[str, ...]


def encoder_estimate(name: str, runs: Sequence[BucketRun], bytes_of: BytesOf) -> EncoderEstimate:
    """Return what encoding ``runs`` with one encoder takes, hours not yet measured.

    Args:
        name: Of the encoder, as on the command line.
        runs: Of the plan.
        bytes_of: Says what a sample takes.
    """
    sizes = [bytes_of(run.bucket) for run in runs]
    return EncoderEstimate(
        name=name,
        bytes=sum(run.num_rows * (size or 0) for run, size in zip(runs, sizes, strict=True)),
        hours=None,
        refused=tuple(
            str(run.bucket) for run, size in zip(runs, sizes, strict=True) if size is None
        ),
    )


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Some samples of a run, decoded to be measured."""

    run: BucketRun
    bucket: Bucket
    rows: DecodedRows

    @property
    def frame_s(self) -> float:
        """CPU seconds per frame."""
        return self.rows.busy_s / (len(self.rows.rows) * self.bucket.num_frames)


def is_of_clips(bucket: Bucket) -> bool:
    """Whether its samples are clips; a clip of one frame counts as a picture here."""
    return bucket.num_frames > 1


def measured_bucket(bucket: Bucket, rule: FrameRule) -> Bucket:
    """Return ``bucket``, or the legal part of its frames that one decode task holds."""
    fitting = max(1, MAX_TASK_BYTES // replace(bucket, num_frames=1).rgb_bytes)
    num_frames = rule.floor(min(fitting, bucket.num_frames)) or rule.first
    return replace(bucket, num_frames=num_frames)


def calibrate(
    planned: MeasuredPlan, encode: EncodeOptions, resources: Resources, workers: Workers
) -> tuple[Calibration | None, EncoderEstimate]:
    """Return what was measured, if a bucket fits the encoder, and what the plan takes in it."""
    facts = workers.facts
    device = choose_run_device(resources, facts)
    settings = DecodeSettings(
        # Nothing is stored, so what the libraries round to does not matter.
        transform=encode.transform(takes_clips=True, libraries={}, clip_libraries={}),
        limits=ImageLimits(max_pixels=resources.max_image_pixels),
        time_limit_s=resources.time_limit_s,
    )
    with tempfile.TemporaryDirectory(prefix="latentcache-estimate-") as nowhere:
        setup = ActorSetup(
            store_url=nowhere,
            columns=(ColumnSetup(column=_MEASURED, encode=encode.for_workers()),),
            device=device,
            threads=resources.threads,
            budget_bytes=facts.budget_bytes(1),
            limits=settings.limits,
            time_limit_s=resources.time_limit_s,
        )
        pool = ActorPool(setup, resources, workers)
        try:
            pool.start()
            pool.wait_until_loaded()
            runs = planned.runs
            description = pool.describe(
                _MEASURED, {str(each.bucket): each.is_long for each in runs}
            )
            worker = pool.actors[0].handle
            fitting = [run for run in runs if str(run.bucket) not in description.refusals]
            asked = [str(run.bucket) for run in fitting]
            num_bytes: dict[str, int] = workers.get(worker.call("bytes_in_tar", _MEASURED, asked))
            name = str(description.spec["name"])
            cost = encoder_estimate(name, runs, lambda bucket: num_bytes.get(str(bucket)))
            if not fitting or description.spec["modality"] == "text":
                return None, cost
            rule = FrameRule.from_spec(description.spec) or FrameRule()
            decoded = {
                is_clip: _decode_some(planned, run, settings, rule, workers)
                for is_clip, run in _largest_runs(fitting).items()
            }
            largest = max(decoded.values(), key=lambda each: _num_pixels(each.run))
            encode_s: float = workers.get(
                worker.call("seconds_per_sample", _MEASURED, largest.rows)
            )
        finally:
            pool.stop()
    calibration = Calibration(
        encoder=encode.encoder,
        bucket=largest.bucket,
        picture_decode_s=decoded[False].frame_s if False in decoded else None,
        frame_decode_s=decoded[True].frame_s if True in decoded else None,
        encode_s=encode_s,
        num_cpus=facts.num_cpus,
        num_gpus=facts.num_gpus if device == "cuda" else 0,
    )
    return calibration, replace(cost, hours=calibration.total_s(fitting) / 3600)


def _largest_runs(runs: Sequence[BucketRun]) -> dict[bool, BucketRun]:
    """Return the run with most pixels of the pictures, and that of the clips (True)."""
    largest: dict[bool, BucketRun] = {}
    for run in sorted(runs, key=_num_pixels):
        largest[is_of_clips(run.bucket)] = run
    return largest


def _num_pixels(run: BucketRun) -> int:
    return run.num_rows * run.bucket.num_pixels


def _decode_some(
    planned: MeasuredPlan,
    run: BucketRun,
    settings: DecodeSettings,
    rule: FrameRule,
    workers: Workers,
) -> _Decoded:
    """Return the first samples of a run, decoded twice: imports are no cost of a sample."""
    bucket = measured_bucket(run.bucket, rule)
    order = replace(_first_task(planned, run, settings), bucket=bucket)
    workers.get(workers.submit(decode_rows_to_measure, order))
    return _Decoded(run, bucket, workers.get(workers.submit(decode_rows_to_measure, order)))


def _first_task(planned: MeasuredPlan, run: BucketRun, settings: DecodeSettings) -> DecodeOrder:
    """Return the first rows of ``run``: rows are in hash order, so they are a fair sample."""
    num_rows = min(rows_per_task(run.bucket), run.num_rows)
    rows: list[DecodeRow] = []
    for table in planned.tables():
        shards = table["shard"].to_numpy()
        is_of_run = (shards >= run.first_shard) & (shards < run.first_shard + run.num_shards)
        mine = table.filter(pa.array(is_of_run)).slice(0, num_rows - len(rows))
        rows.extend(decode_rows_of(mine))
        if len(rows) == num_rows:
            break
    return DecodeOrder(
        corpus=planned.corpus, bucket=run.bucket, rows=tuple(rows), settings=settings
    )
