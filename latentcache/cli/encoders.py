"""``latentcache encoders``: what can be used, and what it needs."""

from typing import TYPE_CHECKING, Any

import click

from latentcache.cli.flags import json_flag
from latentcache.terminal import bytes_text, print_json, print_table

if TYPE_CHECKING:
    from latentcache.encoders import EncoderFacts

_MEGAPIXEL_PX = 1024
_CLIP_PX = (480, 832)
_FRAME_RATE_FPS = 24


@click.command(short_help="What can be used as --encoder.")
@json_flag
def encoders(as_json: bool) -> None:
    """List the encoders that --encoder takes, with what is declared of them.

    Also taken: module:Class, and whatever installed packages register.
    """
    from latentcache.encoders import list_encoders, plugin_encoders

    rows = [_facts_json(facts) for facts in list_encoders()]
    plugins = [{"name": name, "module": module} for name, module in plugin_encoders().items()]
    if as_json:
        print_json([*rows, *[{**plugin, "usage": plugin["name"]} for plugin in plugins]])
        return
    names = ("encoder", "kind", "channels", "factor", "frames", "in pieces", "per megapixel")
    print_table(
        (*names, "per second", "on a GPU", "licence of the usual weights", "what it is"),
        [_table_row(row) for row in rows],
    )
    click.echo(
        "bytes are of all stored fields, mean and log-variance where there are both: of a picture "
        f"of {_MEGAPIXEL_PX} x {_MEGAPIXEL_PX} px, and of a second of {_CLIP_PX[1]} x {_CLIP_PX[0]}"
        f" px at {_FRAME_RATE_FPS} fps"
    )
    click.echo(
        "PATH_OR_HUB_ID is a folder, a pipeline's folder, FILE.safetensors or owner/name; a folder "
        "or owner/name alone is told by its config.json"
    )
    for plugin in plugins:
        click.echo(f"also: {plugin['name']}, registered by a package as {plugin['module']}")
    click.echo("also: module:Class:PATH?knob=value, and what installed packages register")


def _facts_json(facts: "EncoderFacts") -> dict[str, Any]:
    from latentcache.core.media import Bucket

    spec, rule = facts.spec, facts.spec.frame_rule
    takes_pictures = spec.modality in ("image", "video") and rule.admits(1)
    picture = Bucket(1, _MEGAPIXEL_PX, _MEGAPIXEL_PX)
    second = facts.bytes_per_second(*_CLIP_PX, _FRAME_RATE_FPS)
    codebook = spec.codebook
    return {
        "name": facts.name,
        "usage": f"{facts.name}:PATH_OR_HUB_ID" if facts.needs_weights else facts.name,
        "title": facts.title,
        "modality": spec.modality,
        "kind": spec.posterior,
        "channels": facts.latent_channels,
        "codebook_size": None if codebook is None else codebook.size,
        "spatial_factor": list(spec.spatial_factor),
        "multiple_of": list(spec.multiple_of),
        "frames": {"first": rule.first, "step": rule.step, "takes_picture": rule.admits(1)},
        "latent_frames": {"first": rule.latent_first, "step": rule.latent_step},
        "streaming": spec.streaming,
        "dtype_on_gpu": facts.dtype_on_gpu,
        "forbidden_dtypes": sorted(spec.forbidden_dtypes),
        "storage_dtype": spec.fields[0].dtype,
        "bytes_per_512px_image": facts.bytes_per_sample(Bucket(1, 512, 512))
        if takes_pictures
        else None,
        "bytes_per_megapixel": facts.bytes_per_sample(picture) if takes_pictures else None,
        "bytes_per_second_480p": None if second is None else round(second),
        "weights_licence": spec.weights_licence,
    }


_KINDS = {"gaussian_shared_logvar": "gaussian"}


def _table_row(row: dict[str, Any]) -> tuple[Any, ...]:
    frames = {"text": "texts"}.get(row["modality"], "pictures")
    if row["modality"] == "video":
        first, step = row["frames"]["first"], row["frames"]["step"]
        also = "1, or " if first != 1 and row["frames"]["takes_picture"] else ""
        frames = f"{also}{first} + k * {step}" if step > 1 else "any"
    sizes = (row["bytes_per_megapixel"], row["bytes_per_second_480p"])
    is_text = row["modality"] == "text"
    channels = row["channels"] if row["channels"] is not None else "as weights"
    return (
        row["usage"],
        _KINDS.get(row["kind"], row["kind"]),
        channels if row["codebook_size"] is None else f"1 of {row['codebook_size']:,}",
        None if is_text else _edges(row["spatial_factor"]),
        frames,
        "yes" if row["streaming"] != "none" else None,
        *(bytes_text(size) if size is not None else None for size in sizes),
        row["dtype_on_gpu"],
        row["weights_licence"],
        row["title"],
    )


def _edges(pair: list[int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"
