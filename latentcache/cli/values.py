"""Values as people type them: shares, colours, ages."""

import math
import re
from typing import Any

import click

_HEX_COLOUR = re.compile(r"#?([0-9a-fA-F]{6})")
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)?")
_SECONDS = {None: 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Share(click.ParamType):  # type: ignore[type-arg]  # older clicks take none
    """``5%`` or ``0.05``."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the share, 0 to 1."""
        text = str(value).strip()
        try:
            share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
        except ValueError:
            self.fail(f"must be a share such as 5% or 0.05, got {value!r}", param, ctx)
        if not 0.0 <= share <= 1.0:
            self.fail(f"must be 0 to 1 or 0% to 100%, got {value!r}", param, ctx)
        return share


class Colour(click.ParamType):  # type: ignore[type-arg]  # older clicks take none
    """``R,G,B`` or ``#rrggbb``."""

    name = "colour"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Return red, green and blue, 0 to 255."""
        match = _HEX_COLOUR.fullmatch(str(value).strip())
        if match is not None:
            return tuple(bytes.fromhex(match[1]))
        try:
            colour = tuple(int(part) for part in str(value).split(","))
        except ValueError:
            colour = ()
        if len(colour) != 3 or not all(0 <= part <= 255 for part in colour):
            self.fail(f"must be R,G,B or #rrggbb, got {value!r}", param, ctx)
        return colour


class Age(click.ParamType):  # type: ignore[type-arg]  # older clicks take none
    """``24h``, ``90min``, ``7d`` or seconds."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return seconds."""
        match = _AGE.fullmatch(str(value).strip())
        if match is None:
            self.fail(f"must be an age such as 24h, 90min or 7d, got {value!r}", param, ctx)
        return float(match[1]) * _SECONDS[match[2]]


class Counts(click.ParamType):  # type: ignore[type-arg]  # older clicks take none
    """``17``, ``17,33,81``, or a rule such as ``8k+1``."""

    name = "counts"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...] | str:
        """Return the counts, or the text of a rule, which the plan's options check."""
        text = str(value).replace(" ", "").lower()
        if "k" in text:
            return text
        parts = text.split(",")
        if not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
            self.fail(f"must be counts such as 17 or 17,33,81, got {value!r}", param, ctx)
        return tuple(int(part) for part in parts)


class Resolution(click.ParamType):  # type: ignore[type-arg]  # older clicks take none
    """``1024``, several ``512,1024``, or ``1024,1024`` as other trainers write the one."""

    name = "resolution"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | tuple[int, ...]:
        """Return PX of the budget PX * PX, or several."""
        text = str(value).replace(" ", "").lower()
        is_list = not re.search(r"[x*]", text)
        sides = re.split(r"[,x*]", text)
        is_right = all(side.isascii() and side.isdigit() for side in sides)
        if not is_right or (len(sides) > 2 and not is_list):
            self.fail(f"must be pixels such as 1024 or 512,1024, got {value!r}", param, ctx)
        if is_list and len(set(sides)) > 1:
            return tuple(int(side) for side in sides)
        if len(set(sides)) > 1:
            area = int(sides[0]) * int(sides[1])
            near = max(64, round(math.sqrt(area) / 64) * 64)
            self.fail(
                f"must be one number PX, a bucket of any shape holds at most PX * PX pixels, got "
                f"{value!r}; {near} allows about as many pixels",
                param,
                ctx,
            )
        return int(sides[0])


RESOLUTION = Resolution()
SHARE, COLOUR, AGE, COUNTS = Share(), Colour(), Age(), Counts()
