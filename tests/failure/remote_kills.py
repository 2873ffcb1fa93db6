"""``python -m tests.failure.remote_kills [N | Ns] [SEED]``: kills on Ray and of builds into S3.

A bucket stands behind a proxy that fails a twentieth of all requests; driver, encode actor, decode
task, raylet and head are killed, or stopped for 3 s, at drawn moments. Ends in 1 if one run did not
recover to the bytes of an undisturbed one.
"""

import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.failure.remote_stages import RemoteStages, disturbances
from tests.failure.trials import ENDS, Limit, tried


def main(limit: str = "300s", seed: str = "1") -> int:
    """Kill runs and return the exit code."""
    most = Limit(limit)
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as folder:
        stages = RemoteStages(Path(folder))
        try:
            for one in disturbances(random.Random(int(seed))):
                if most.is_reached(counts.total()):
                    break
                end = tried(stages.disturb_and_recover, one)
                where = "on Ray" if one.on_ray else "without Ray"
                kind = f"{signal.Signals(one.how).name} of {one.whom} {where}"
                counts[kind, end] += 1
                print(f"{counts.total():>4} {end} {kind} after {one.after_s:.1f} s", flush=True)
            told = stages.num_faults()
        finally:
            stages.close()
    for kind in sorted({kind for kind, _ in counts}):
        cells = [f"{counts[kind, end]} {end}" for end in ENDS]
        print(f"{kind:<40} {', '.join(cells)}")
    print(f"{told} requests failed on purpose; seed {seed}")
    return 1 if any(end == "FAILED" for _, end in counts) else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
