"""Who takes part, in which cases, warm or cold, and how strongly each shuffles."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["ours", "peer", "limit"]
Order = Literal["global", "window", "blocks", "none"]

ORDERS = {
    "global": "any row next to any other: a permutation of all rows",
    "window": "rows mixed within some shards or a buffer",
    "blocks": "blocks in random order, rows within a block as stored",
    "none": "as stored",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the tables.

    Attributes:
        name: As printed.
        kind: Ours, a peer's, or a limit of the machine.
        module: Under ``peers``.
        option: Of the module.
        order: How strongly rows are shuffled.
        workers: Worker processes.
        threads: Torch threads.
        cores: Processor cores it may run on; 0 is all.
        dataset: Folder of the data set, if it is not the module's own.
        warm: Cases it takes part in with everything in the page cache.
        cold: Cases it takes part in with nothing in the page cache.
    """

    name: str
    kind: Kind
    module: str
    order: Order
    option: str = ""
    workers: int = 0
    threads: int = 1
    cores: int = 0
    dataset: str = ""
    warm: str = "abc"
    cold: str = ""

    @property
    def folder(self) -> str:
        """Name of the data set's folder in the case's."""
        return self.dataset or self.module


def _ours(name: str, **settings: object) -> Entry:
    values = {"module": "ours", "kind": "ours", "order": "global", **settings}
    return Entry(name=f"latentcache {name}", **values)  # type: ignore[arg-type]


def _limit(name: str, option: str, **settings: object) -> Entry:
    values = {"module": "limits", "kind": "limit", "order": "none", "dataset": "ours", **settings}
    return Entry(name=name, option=option, **values)  # type: ignore[arg-type]


def _peer(name: str, module: str, order: Order, **settings: object) -> Entry:
    return Entry(name=name, kind="peer", module=module, order=order, **settings)  # type: ignore[arg-type]


def _both(name: str, module: str, order: Order, **settings: object) -> list[Entry]:
    """Return the peer without workers and with two.

    The disk is read by both where two may gain by it: a file a sample, or chunks of large rows.
    """
    two = settings if module in ("folder", "litdata") else {**settings, "cold": ""}
    return [
        _peer(f"{name} w0", module, order, **settings),
        _peer(f"{name} w2", module, order, workers=2, **two),
    ]


ENTRIES = [
    _limit("memcpy", "memcpy"),
    _limit("in-memory gather, fresh", "gather", order="global"),
    _limit("in-memory gather, reused buffer", "gather-reused", order="global"),
    _limit("in-memory gather, fresh, 2 threads", "gather", order="global", threads=2, warm="bc"),
    _limit("in-memory gather, normalized float32", "gather-float32", order="global"),
    _limit("files read in order", "read", warm="", cold="abc"),
    _ours("raw", option="raw", cold="abc"),
    _ours("raw, one core", option="raw", cores=1, warm="bc"),
    _ours("raw, many shards", option="raw", module="ours_many", warm="a"),
    _ours("raw + captions", option="captions", warm="a"),
    _ours("normalized float32", option="float32"),
    _ours("normalized bfloat16", option="bfloat16"),
    _ours("raw, window", option="window", order="window", cold="abc"),
    *_both("MosaicML streaming py1e", "mosaicml", "window", option="py1e", cold="abc"),
    _peer("MosaicML streaming naive w0", "mosaicml", "global", option="naive", cold="a"),
    _peer("MosaicML streaming naive w2", "mosaicml", "global", option="naive", workers=2),
    *_both("LitData", "litdata", "window", cold="abc"),
    *_both("webdataset", "webdataset", "window", dataset="ours", cold="abc"),
    *_both("HF datasets torch", "huggingface", "global", option="torch"),
    _peer("HF datasets arrow w0", "huggingface", "global", option="arrow", cold="abc"),
    _peer("HF datasets iterable w2", "huggingface", "window", option="iterable", workers=2),
    _peer("Lance torch", "lance", "blocks", option="torch", cold="abc"),
    _peer("Lance take", "lance", "global", option="take", cold="abc"),
    *_both("Megatron-Energon", "energon", "window", cold="abc"),
    *_both("folder of safetensors", "folder", "global", cold="abc"),
]
