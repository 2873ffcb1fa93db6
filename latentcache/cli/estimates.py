"""An estimate on stdout: what a corpus would become before anything is spent."""

from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.output import bytes_text, count_text, duration_text, print_table

if TYPE_CHECKING:
    from latentcache.plan.estimate import EncoderEstimate, PlanEstimate


def print_estimate(found: "PlanEstimate") -> None:
    """Print an estimate for people."""
    shards = count_text(found.num_shards, "shard")
    click.echo(f"{count_text(found.num_samples, 'sample')} in {shards}; nothing was written")
    if found.rejects:
        why = ", ".join(f"{count:,} {code}" for code, count in found.rejects.items())
        click.echo(f"refused: {sum(found.rejects.values()):,} ({why})")
    print_table(
        ("bucket", "samples", "shards"),
        [(each.bucket, each.num_samples, each.num_shards) for each in found.buckets],
    )
    if found.encoders:
        click.echo("")
        print_table(
            ("encoder", "bytes", "time here", "buckets"),
            [_encoder_row(each, len(found.buckets)) for each in found.encoders],
        )


def _encoder_row(found: "EncoderEstimate", num_buckets: int) -> tuple[Any, ...]:
    takes = "all fit"
    if found.refused:
        takes = f"{len(found.refused)} of {num_buckets} do not fit: {', '.join(found.refused)}"
    time_here = None if found.hours is None else duration_text(found.hours * 3600)
    return (found.name, bytes_text(found.bytes), time_here, takes)
