"""``latentcache encoders``: what can be used, and what it needs."""

from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.flags import json_flag
from latentcache.terminal import bytes_text, print_json, print_table

if TYPE_CHECKING:
    from latentcache.encoders import EncoderFacts

_EXAMPLE_PX = 512


@click.command(short_help="What can be used as --encoder.")
@json_flag
def encoders(as_json: bool) -> None:
    """List the encoders that --encoder takes, with what is declared of them.

    Also taken: module:Class, and whatever installed packages register.
    """
    from latentcache.encoders import list_encoders

    rows = [_facts_json(facts) for facts in list_encoders()]
    if as_json:
        print_json(rows)
        return
    names = ("encoder", "channels", "factor", "multiple", "frames", "per 512 px image", "licence")
    print_table((*names, "what it is"), [_table_row(row) for row in rows])
    click.echo(
        "PATH_OR_HUB_ID is a folder, a pipeline's folder, FILE.safetensors or owner/name; a folder "
        "or owner/name alone is told by its config.json"
    )
    click.echo("also: module:Class, and what installed packages register")


def _facts_json(facts: "EncoderFacts") -> dict[str, Any]:
    from latentcache.core.media import Bucket

    rule = facts.spec.frame_rule
    bucket = Bucket(1, _EXAMPLE_PX, _EXAMPLE_PX)
    return {
        "name": facts.name,
        "usage": f"{facts.name}:PATH_OR_HUB_ID" if facts.needs_weights else facts.name,
        "title": facts.title,
        "modality": facts.spec.modality,
        "channels": facts.latent_channels,
        "spatial_factor": list(facts.spec.spatial_factor),
        "multiple_of": list(facts.spec.multiple_of),
        "frames": {"first": rule.first, "step": rule.step},
        "streaming": facts.spec.streaming,
        "bytes_per_512px_image": facts.bytes_per_sample(bucket),
        "weights_licence": facts.spec.weights_licence,
    }


def _table_row(row: dict[str, Any]) -> tuple[Any, ...]:
    frames = {"text": "texts"}.get(row["modality"], "images")
    if row["modality"] == "video":
        first, step = row["frames"]["first"], row["frames"]["step"]
        frames = f"{first} + k * {step}" if step > 1 else "any"
    size = row["bytes_per_512px_image"]
    return (
        row["usage"],
        row["channels"] if row["channels"] is not None else "as weights",
        _edges(row["spatial_factor"]),
        _edges(row["multiple_of"]),
        frames,
        bytes_text(size) if size is not None else None,
        row["weights_licence"],
        row["title"],
    )


def _edges(pair: list[int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"
