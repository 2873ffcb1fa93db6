"""``python -m tests.failure.kills [N | Ns] [SEED]``: kill runs, print how many recovered.

Every named point once, in a drawn order, with points at random between them and after them: ``N``
in all, or for ``Ns`` seconds. Ends in 1 if one did not recover to the bytes of an undisturbed run.
"""

import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.failure.stages import COMMANDS, Point, Stages
from tests.failure.trials import ENDS, Limit, tried

_NAMED_PER_RANDOM = 4


def _points(stages: Stages, draw: random.Random) -> Iterator[tuple[str, Point]]:
    named = stages.named_points(draw)
    print(f"{len(named)} named points", flush=True)
    at_random = stages.random_points(draw)
    for number, point in enumerate(named, 1):
        yield "named", point
        if number % _NAMED_PER_RANDOM == 0:
            yield "random", next(at_random)
    yield from (("random", point) for point in at_random)


def _table(counts: Counter[tuple[str, str, str]]) -> Iterator[str]:
    columns = [(kind, end) for kind in ("named", "random") for end in ENDS]
    yield "command   " + " ".join(f"{kind + ' ' + end:>13}" for kind, end in columns)
    for command in COMMANDS:
        cells = (counts[command, kind, end] for kind, end in columns)
        yield f"{command:<10}" + " ".join(f"{cell:>13}" for cell in cells)
    sums = (sum(counts[command, kind, end] for command in COMMANDS) for kind, end in columns)
    yield "all       " + " ".join(f"{cell:>13}" for cell in sums)


def main(limit: str = "600s", seed: str = "1") -> int:
    """Kill runs and return the exit code."""
    most = Limit(limit)
    counts: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as folder:
        stages = Stages(Path(folder))
        for kind, point in _points(stages, random.Random(int(seed))):
            if most.is_reached(counts.total()):
                break
            end = tried(stages.disturb_and_recover, point)
            counts[point.command, kind, end] += 1
            print(f"{counts.total():>4} {end} {point.command}: {point.place}", flush=True)
        stages.close()
    print("\n".join(_table(counts)), f"seed {seed}", sep="\n")
    return 1 if any(end == "FAILED" for _, _, end in counts) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
