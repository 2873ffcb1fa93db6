"""An estimate on stdout: what a corpus would become before anything is spent."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.corpus_report import corpus_json, print_corpus
from latentcache.terminal import (
    bytes_text,
    count_text,
    duration_text,
    print_table,
    size_text,
)

if TYPE_CHECKING:
    from latentcache.runner import CachingCost, Calibration, EncoderEstimate, Estimate, Prices


def print_estimate(found: "Estimate", prices: "Prices | None" = None) -> None:
    """Print an estimate for people."""
    shards = count_text(found.num_shards, "shard")
    source = bytes_text(found.source_bytes)
    planned = count_text(found.num_samples, "sample")
    if found.num_rows != found.num_samples:
        planned = f"{count_text(found.num_rows, 'row')} of {planned}"
    click.echo(f"{planned} in {shards} from {source} of sources")
    print_corpus(found.totals, found.num_samples)
    if not found.num_samples:  # no encoder would have anything to do
        click.echo("nothing was written")
        return
    print_table(
        ("bucket", "samples", "shards"),
        [(size_text(each.bucket), each.num_samples, each.num_shards) for each in found.buckets],
    )
    click.echo("")
    print_table(
        ("encoder", "bytes", "time here", "buckets"),
        [_encoder_row(each, len(found.buckets)) for each in found.encoders],
    )
    if found.calibration is not None:
        print_calibration(found.calibration)
    for line in cost_lines(found, prices):
        click.echo(line)
    click.echo("nothing was written")


def cost_of(found: "Estimate", prices: "Prices | None") -> "CachingCost | None":
    """Return what caching costs with the encoder that was measured; None if none was."""
    from latentcache.runner import caching_cost

    measured = [each for each in found.encoders if each.hours is not None]
    if not measured or measured[0].hours is None:
        return None
    return caching_cost(measured[0].hours, measured[0].bytes, prices)


def cost_lines(found: "Estimate", prices: "Prices | None") -> list[str]:
    """Return cached against online cost, in words."""
    cost = cost_of(found, prices)
    if cost is None:
        return []
    once, many = duration_text(cost.hours * 3600), 10
    kept = "" if prices is None else f" and {duration_text(cost.kept_hours * 3600)} for keeping it"
    saved = cost.saved_hours(many)
    told = f"saves {duration_text(saved * 3600)}" if saved > 0 else "does not pay"
    return [
        f"cached: {once} once, {bytes_text(cost.bytes)} kept{kept}; online: {once} in every epoch",
        f"caching pays from epoch {cost.epochs:,} on, over {many} epochs it {told}"
        + ("" if prices else "; --prices HOUR,TB_MONTH counts storage too"),
    ]


def estimate_json(found: "Estimate", prices: "Prices | None" = None) -> dict[str, Any]:
    """Return what ``plan --estimate --json`` prints."""
    values = asdict(found)
    if found.calibration is not None:
        values["calibration"]["bucket"] = str(found.calibration.bucket)
    del values["totals"]
    cost = cost_of(found, prices)
    values["caching"] = None if cost is None else asdict(cost)
    return {**values, "corpus": corpus_json(found.totals)}


def print_calibration(found: "Calibration") -> None:
    """Print what was measured."""
    encoders = count_text(found.num_gpus, "GPU") if found.num_gpus else "the same cores"
    frame_s, picture_s = found.frame_decode_s, found.picture_decode_s
    costs = (("a frame of a clip", frame_s), ("a picture", picture_s))
    decode = " and ".join(f"{s * 1000:.3g} ms {what}" for what, s in costs if s is not None)
    click.echo(
        f"measured with {found.encoder} at {found.bucket.label}: decode {decode} on "
        f"{count_text(found.num_cpus, 'core')}, encode {found.encode_s * 1000:.3g} ms a sample on "
        f"{encoders}"
    )


def _encoder_row(found: "EncoderEstimate", num_buckets: int) -> tuple[Any, ...]:
    takes = "all fit"
    if found.refused:
        which = ", ".join(map(size_text, found.refused))
        takes = f"{len(found.refused)} of {num_buckets} do not fit: {which}"
    time_here = None if found.hours is None else duration_text(found.hours * 3600)
    return (found.name, bytes_text(found.bytes), time_here, takes)
