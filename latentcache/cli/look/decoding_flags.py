"""Flags of whatever decodes stored latents: where encoder and corpus are now."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any, TypeVar

import click

from latentcache.cli.flags import note

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodingOptions:
    """What is needed to go back from latents to pixels.

    Attributes:
        encoder: Where the weights are now, as NAME:PATH; None as recorded.
        corpus: Where the corpus lies now; None as recorded.
        device: To decode on.
        is_offline: Never ask a model hub.
    """

    encoder: str | None
    corpus: str | None
    device: str
    is_offline: bool


def decoding_flags(command: CommandT) -> CommandT:
    """Add the flags of whatever decodes stored latents; read them with ``decoding_of``."""
    options = (
        click.option(
            "--encoder", callback=note("encoder"), metavar="NAME", expose_value=False,
            help="Where the encoder's weights are now, as NAME:PATH.",
        ),
        click.option(
            "--corpus", callback=note("corpus"), metavar="URL", expose_value=False,
            help="Where the corpus lies now.",
        ),
        click.option(
            "--device", callback=note("device"), type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto", show_default=True, help="Where the encoder runs.", expose_value=False,
        ),
        click.option(
            "--offline", callback=note("is_offline"), is_flag=True, expose_value=False,
            help="Never ask a model hub.",
        ),
    )  # fmt: skip
    return reduce(lambda done, option: option(done), reversed(options), command)


def decoding_of(context: click.Context) -> DecodingOptions:
    """Return what the flags of ``decoding_flags`` say."""
    names = [field.name for field in fields(DecodingOptions)]
    return DecodingOptions(**{name: context.meta[name] for name in names})
