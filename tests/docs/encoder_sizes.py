"""The table of sizes in docs/encoders.md, from what encoders declare; run it to write the table."""

import re
from pathlib import Path

from latentcache.core.media import Bucket
from latentcache.encoders import EncoderFacts, list_encoders
from latentcache.terminal import bytes_text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "encoders.md"
_BLOCK = re.compile(r"(?<=<!-- sizes: begin -->\n).*?(?=<!-- sizes: end -->)", re.DOTALL)
_SIDES = (256, 512, 1024)
_PIXELS = {side: side * side * 3 for side in _SIDES}


def sizes_table() -> str:
    """Return the table, a row per encoder whose sizes are known before its weights."""
    head = (
        "| encoder | 256 px | of its pixels | 512 px | 1024 px | a second of 832 x 480 px, 24 fps |"
    )
    rows = [_row(facts) for facts in list_encoders() if facts.is_sized]
    return "\n".join([head, "| --- | --- | --- | --- | --- | --- |", *rows]) + "\n"


def _row(facts: EncoderFacts) -> str:
    sizes = [_picture_bytes(facts, side) for side in _SIDES]
    share = "-" if sizes[0] is None else f"{100 * sizes[0] / _PIXELS[_SIDES[0]]:.3g} %"
    second = facts.bytes_per_second(480, 832, 24, "mode")
    texts = ["-" if size is None else bytes_text(size) for size in sizes]
    cells = [f"`{facts.name}`", texts[0], share, *texts[1:]]
    return "| " + " | ".join([*cells, "-" if second is None else bytes_text(second)]) + " |"


def _picture_bytes(facts: EncoderFacts, side_px: int) -> int | None:
    bucket = Bucket(1, side_px, side_px)
    return None if facts.refusal(bucket) else facts.bytes_per_sample(bucket, None, "mode")


def written() -> str:
    """Return the table as the page has it."""
    found = _BLOCK.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None, "the page has its two marks"
    return found[0]


if __name__ == "__main__":
    PAGE.write_text(_BLOCK.sub(lambda _: sizes_table(), PAGE.read_text(encoding="utf-8")))
