"""Building and loading through a server of S3 and a proxy that fails, against this machine's disk.

    python -m tests.benchmarks.object_stores [--samples 480] [--rounds 3]

Servers are real and on loopback: moto, and OpenStack Swift where ``SWIFT_BIN`` names it (see
infra/object_stores/swift.sh). A share of all requests through the proxy ends in 503, 500, a reset,
a lost answer or a cut body. Each build is a fresh process; loading is two epochs in one more, from
the bucket itself and without a cache. Then one job is done by one driver and by two at once, on
disk: samples that both encoded are work done twice. Medians, with the smallest and the largest.
Not a test.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from latentcache.testing.drawn import write_drawn_corpus
from tests.failure.recovery import served
from tests.s3_servers import failing, moto, num_faults, set_faults, swift, why_no_swift

FAULTS = ["503", "500", "reset", "lostack", "truncate"]
SLOW = "latentcache.testing.fakes:SlowEncoder:seconds=1"
LOAD = """
import json, sys, time
from latentcache import LatentLoader
began_s = time.perf_counter()
loader = LatentLoader(sys.argv[1], columns=["latents"], global_batch_size=16)
num = 0
batches = iter(loader)
for _ in range(2 * int(sys.argv[2]) // 16):
    num += len(next(batches)["latents"])
print(json.dumps({"num": num, "s": time.perf_counter() - began_s}))
"""


@dataclass
class Place:
    """Where stores go, with what was taken there, in seconds.

    Attributes:
        title: In the table.
        url: Of the folder of stores.
        environment: By which clients find it.
        proxy: Its URL, or "".
    """

    title: str
    url: str
    environment: dict[str, str]
    proxy: str = ""

    def __post_init__(self) -> None:
        self.build_s: list[float] = []
        self.load_s: list[float] = []

    def measure(self, corpus: Path, num: int, number: int) -> None:
        """Build a store and load it."""
        store = f"{self.url}/store-{number}"
        environment = {**os.environ, **self.environment}
        began_s = time.perf_counter()
        words = ("build", str(corpus), store, "--encoder", "dct", "--resolution", "256")
        _run([sys.executable, "-m", "latentcache", *words], environment)
        self.build_s.append(time.perf_counter() - began_s)
        told = _run([sys.executable, "-c", LOAD, store, str(num)], environment)
        self.load_s.append(float(json.loads(told.splitlines()[-1])["s"]))

    def row(self, disk: "Place", num: int) -> str:
        """Return a row of the table."""
        cells = [self.title]
        for ours, theirs in ((self.build_s, disk.build_s), (self.load_s, disk.load_s)):
            ratio = median(ours) / median(theirs)
            spread = f"{median(ours):.2f} ({min(ours):.2f} to {max(ours):.2f})"
            cells += [spread, f"{ratio:.2f}"]
        cells.append(f"{2 * num / median(self.load_s):,.0f}")
        cells.append(f"{sum(num_faults(self.proxy).values()):,}" if self.proxy else "")
        return "| " + " | ".join(cells) + " |"


def _run(command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[2:5]} ended in {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout


def places(stack: ExitStack, folder: Path) -> Iterator[Place]:
    """Yield the disk, then every server, directly and through failing proxies."""
    yield Place("disk", str(folder), {})
    servers = {"moto": moto}
    if not why_no_swift():
        servers["Swift"] = swift
    for name, start in servers.items():
        server = stack.enter_context(start())
        bucket = "import s3fs; s3fs.S3FileSystem().mkdir('measured')"
        _run([sys.executable, "-c", bucket], {**os.environ, **server.environment()})
        yield Place(name, "s3://measured/direct", server.environment())
        for percent in (0, 5, 30):
            proxy = stack.enter_context(failing(server.endpoint))
            set_faults(proxy, FAULTS, percent / 100)
            environment = {**server.environment(), "AWS_ENDPOINT_URL": proxy}
            title = f"{name} through the proxy, {percent} % of requests fail"
            yield Place(title, f"s3://measured/failing-{percent}", environment, proxy)


def two_drivers(folder: Path) -> Iterator[str]:
    """Yield rows of one job, done by one driver and by two at once."""
    corpus = folder / "for-two"
    write_drawn_corpus(corpus, 160, seed=2, size_px=64)
    for num in (1, 2):
        store = folder / f"by-{num}"
        words = ["build", str(corpus), str(store), "--encoder", SLOW, "--resolution", "64"]
        words += ["--rows-per-shard", "8", "--actors", "1"]
        began_s = time.perf_counter()
        command = [sys.executable, "-m", "latentcache", *words]
        runs = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            for _ in range(num)
        ]
        told = [run.communicate()[0] for run in runs]
        wall_s = time.perf_counter() - began_s
        encoded = [sum(map(int, re.findall(r"this run: (\d+) sample", each))) for each in told]
        codes = [run.returncode for run in runs]
        is_equal = served(store) == served(folder / "by-1")
        cells = [str(num), f"{wall_s:.1f}", " + ".join(map(str, encoded))]
        cells += [f"{sum(encoded) / 160:.2f}", " ".join(map(str, codes)), str(is_equal)]
        yield "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        corpus = folder / "corpus"
        write_drawn_corpus(corpus, asked.samples, seed=1, size_px=256)
        found = list(places(stack, folder / "stores"))
        for number in range(asked.rounds):
            for place in found:
                place.measure(corpus, asked.samples, number)
        print("| store | build, s | of disk | two epochs, s | of disk | samples/s | failed |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for place in found:
            print(place.row(found[0], asked.samples))
        print("\n| drivers | wall, s | samples encoded | of the plan | exit codes | equal bytes |")
        print("| ---: | ---: | ---: | ---: | ---: | ---: |")
        for row in two_drivers(folder):
            print(row)


if __name__ == "__main__":
    main()
