"""What a build would take, before anything is spent: a scan, arithmetic, a short calibration.

Samples and shards are the plan's, bytes are the store's own arithmetic over what an encoder
declares, hours are measured. Nothing is written; what is measured changes the printed hours,
never a plan.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from latentcache.encoders import check_encoder, list_encoders
from latentcache.runner.calibration import (
    Calibration,
    EncoderEstimate,
    MeasuredPlan,
    calibrate,
    encoder_estimate,
)
from latentcache.runner.jobs import listed_size
from latentcache.runner.plan_request import PlanRequest
from latentcache.runner.planning import DraftedPlan, drafted_plan
from latentcache.runner.run_options import EncodeOptions
from latentcache.runner.run_progress import Reporter
from latentcache.runner.workers.starting import RunSize, run_workers, stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketEstimate:
    """One bucket: its samples and shards."""

    bucket: str
    num_samples: int
    num_shards: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """All that ``plan --estimate`` prints.

    Attributes:
        num_samples: Planned.
        num_rows: Of them; as many unless samples have several.
        num_shards: Planned.
        rejects: Samples refused so far, by code.
        buckets: Samples and shards of each.
        encoders: Bytes of each candidate whose channels are known, and hours of the one asked for.
        source_bytes: Of the listed media.
        calibration: Of the encoder that was asked for, or None.
        totals: What was found beside the samples, as a plan would record it.
    """

    num_samples: int
    num_rows: int
    num_shards: int
    rejects: dict[str, int]
    buckets: tuple[BucketEstimate, ...]
    encoders: tuple[EncoderEstimate, ...]
    source_bytes: int
    calibration: Calibration | None
    totals: dict[str, Any]


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
    resources = request.resources
    if encode is not None:
        encode = encode.with_name(reporter.message)
        check_encoder(encode.encoder)  # a wrong name must not cost a scan
    # A few samples are encoded, however large the corpus is.
    size = RunSize(num_samples=min(listed_size(request).num_samples, resources.without_ray))
    encoders = [encode.encoder] if encode else []
    with ExitStack() as stack:
        stack.enter_context(stopping())
        workers = None
        if encode is not None or resources.address != "local":
            asked = run_workers(resources, size, encoders=encoders, reporter=reporter)
            workers = stack.enter_context(asked)
        drafting = drafted_plan(request, workers=workers, reporter=reporter)
        drafted = stack.enter_context(drafting)
        runs = drafted.assignment.runs
        candidates = {
            facts.name: encoder_estimate(facts.name, runs, facts.bytes_in_tar)
            for facts in list_encoders()
            if facts.latent_channels is not None
        }
        calibration = None
        if encode is not None and workers is not None and runs:
            reporter.message(f"calibrating {encode.encoder} on a few samples")
            calibration, measured = calibrate(
                MeasuredPlan(
                    runs=runs, tables=drafted.assignment.iter_rows, corpus=drafted.corpus.root
                ),
                encode,
                resources,
                workers,
            )
            candidates.pop(measured.name, None)
            candidates[measured.name] = measured
        return _estimate(drafted, list(candidates.values()), calibration)


def _estimate(
    drafted: DraftedPlan, encoders: Sequence[EncoderEstimate], calibration: Calibration | None
) -> Estimate:
    assignment = drafted.assignment
    return Estimate(
        num_samples=assignment.num_samples,
        num_rows=assignment.num_rows,
        num_shards=sum(run.num_shards for run in assignment.runs),
        rejects=dict(sorted(assignment.reject_codes.items())),
        buckets=tuple(
            BucketEstimate(
                bucket=str(run.bucket), num_samples=run.num_rows, num_shards=run.num_shards
            )
            for run in assignment.runs
        ),
        encoders=tuple(encoders),
        source_bytes=assignment.num_bytes,
        calibration=calibration,
        totals=drafted.described(),
    )
