"""What a build would take, before anything is spent: a scan, arithmetic, a short calibration.

Nothing is written; what is measured changes the printed hours, never a plan.
"""

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import ray

from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.decode import ImageLimits
from latentcache.encoders import EncoderFacts, list_encoders
from latentcache.plan import EncoderCost, PlanEstimate
from latentcache.plan import estimate as estimate_plan
from latentcache.runner.actor_pool import ActorPool
from latentcache.runner.cluster import ClusterFacts
from latentcache.runner.collector import decode_rows_of
from latentcache.runner.decoding import (
    DecodedRows,
    DecodeOrder,
    DecodeRow,
    DecodeSettings,
    decode_task,
    rows_per_task,
)
from latentcache.runner.encode_actor import ActorSetup, EncoderDescription
from latentcache.runner.encoding import choose_run_device
from latentcache.runner.jobs import run_connected
from latentcache.runner.options import EncodeOptions, Resources
from latentcache.runner.planning import DraftedPlan, PlanRequest, drafted_plan
from latentcache.runner.progress import Reporter

_CELLS = 8
"""Edge of the latent grid on which an encoder's bytes per cell are taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What one encoder costs on this machine.

    Attributes:
        encoder: As typed.
        bucket: Where it was measured: the one with most pixels in the plan.
        decode_s: CPU seconds per sample, reading included.
        encode_s: Seconds per sample of one encoder at the batch size of a run.
        num_cpus: Cores that would decode.
        num_gpus: Encoders that would run; 0 if they share the cores with decoding.
    """

    encoder: str
    bucket: Bucket
    decode_s: float
    encode_s: float
    num_cpus: int
    num_gpus: int

    def total_s(self, runs: Sequence[BucketRun]) -> float:
        """Return seconds for all of ``runs``: decoding goes by samples, encoding by pixels."""
        decode_total_s = sum(run.num_rows for run in runs) * self.decode_s
        num_pixels = sum(run.num_rows * run.bucket.num_pixels for run in runs)
        encode_total_s = num_pixels * self.encode_s / self.bucket.num_pixels
        if not self.num_gpus:
            return (decode_total_s + encode_total_s) / self.num_cpus
        return max(decode_total_s / self.num_cpus, encode_total_s / self.num_gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """All that ``plan --estimate`` prints.

    Attributes:
        plan: Samples, buckets, shards, and bytes per candidate encoder.
        source_bytes: Of the listed media.
        calibration: Of the encoder that was asked for, or None.
    """

    plan: PlanEstimate
    source_bytes: int
    calibration: Calibration | None


def estimate(request: PlanRequest, encode: EncodeOptions | None, *, reporter: Reporter) -> Estimate:
    """Return what planning and encoding a corpus would take.

    Args:
        request: The corpus and the plan's options.
        encode: The encoder to calibrate, or None for none.
        reporter: Shows the scan.

    Raises:
        ConfigError: The corpus is missing, empty or not readable as one.
        EncoderError: The encoder cannot be loaded.
    """
    with (
        run_connected(request.resources) as facts,
        drafted_plan(request, facts=facts, reporter=reporter) as drafted,
    ):
        costs = [cost for each in list_encoders() if (cost := _cost_of(each)) is not None]
        calibration = None
        if encode is not None and drafted.assignment.runs:
            reporter.message(f"calibrating {encode.encoder} on a few samples")
            calibration, cost = _calibrate(drafted, encode, request.resources, facts)
            costs = [each for each in costs if each.name != cost.name] + [cost]
        assignment = drafted.assignment
        return Estimate(
            plan=estimate_plan(assignment.runs, assignment.reject_codes, costs),
            source_bytes=assignment.num_bytes,
            calibration=calibration,
        )


def _cost_of(facts: EncoderFacts) -> EncoderCost | None:
    """Return the declared cost of a known encoder, or None where the weights decide."""
    height, width = (_CELLS * factor for factor in facts.spatial_factor)
    num_bytes = facts.bytes_per_sample(Bucket(facts.frame_rule.first, height, width))
    if num_bytes is None:
        return None
    return EncoderCost(
        name=facts.name,
        bytes_per_cell=-(-num_bytes // _CELLS**2),
        spatial_factor=facts.spatial_factor,
        multiple_of=facts.multiple_of,
    )


def _calibrate(
    drafted: DraftedPlan, encode: EncodeOptions, resources: Resources, facts: ClusterFacts
) -> tuple[Calibration, EncoderCost]:
    device = choose_run_device(resources, facts)
    runs = drafted.assignment.runs
    run = max(runs, key=lambda each: each.num_rows * each.bucket.num_pixels)
    settings = DecodeSettings(
        transform=encode.transform(takes_clips=True),
        limits=ImageLimits(max_pixels=resources.max_image_pixels),
        time_limit_s=resources.time_limit_s,
    )
    order = _first_task(drafted, run, settings)
    ray.get(decode_task.remote(order))  # imports are no cost of a sample
    decoded: DecodedRows = ray.get(decode_task.remote(order))
    with tempfile.TemporaryDirectory(prefix="latentcache-estimate-") as nowhere:
        setup = ActorSetup(
            store_url=nowhere,
            encode=encode.for_workers(),
            device=device,
            threads=resources.threads,
            window_bytes=facts.window_bytes(1),
            limits=settings.limits,
            time_limit_s=resources.time_limit_s,
        )
        pool = ActorPool(setup, resources, facts)
        try:
            pool.start()
            description = pool.describe([str(each.bucket) for each in runs])
            encode_s: float = ray.get(pool.actors[0].handle.seconds_per_sample.remote(decoded))
        finally:
            pool.stop()
    calibration = Calibration(
        encoder=encode.encoder,
        bucket=run.bucket,
        decode_s=decoded.busy_s / len(decoded.rows),
        encode_s=encode_s,
        num_cpus=facts.num_cpus,
        num_gpus=facts.num_gpus if device == "cuda" else 0,
    )
    total_s = calibration.total_s(runs)
    num_samples = sum(each.num_rows for each in runs)
    return calibration, _measured_cost(description, num_samples / max(total_s, 1e-9))


def _first_task(drafted: DraftedPlan, run: BucketRun, settings: DecodeSettings) -> DecodeOrder:
    """Return the first rows of ``run``: rows are in hash order, so they are a fair sample."""
    num_rows = min(rows_per_task(run.bucket), run.num_rows)
    rows: list[DecodeRow] = []
    for table in drafted.assignment.iter_rows():
        shards = table["shard"].to_numpy()
        is_of_run = (shards >= run.first_shard) & (shards < run.first_shard + run.num_shards)
        mine = table.filter(pa.array(is_of_run)).slice(0, num_rows - len(rows))
        rows.extend(decode_rows_of(mine))
        if len(rows) == num_rows:
            break
    return DecodeOrder(
        corpus=drafted.corpus.root, bucket=run.bucket, rows=tuple(rows), settings=settings
    )


def _measured_cost(description: EncoderDescription, samples_per_s: float) -> EncoderCost:
    """Return the cost of the encoder that was loaded, from its probe."""
    spec = description.spec
    factor = (int(spec["spatial_factor"][0]), int(spec["spatial_factor"][1]))
    multiple = (int(spec["multiple_of"][0]), int(spec["multiple_of"][1]))
    fixed = spec["fixed_size"]
    return EncoderCost(
        name=str(spec["name"]),
        bytes_per_cell=math.ceil(description.bytes_per_pixel * factor[0] * factor[1]),
        spatial_factor=factor,
        multiple_of=multiple,
        fixed_size=(int(fixed[0]), int(fixed[1])) if fixed else None,
        max_size_px=spec["max_size_px"],
        samples_per_s=samples_per_s,
    )
