"""MosaicML streaming: MDS shards read in place. Options name the shuffle algorithm."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from tests.benchmarks.loading.cases import Case, iter_blocks
from tests.benchmarks.loading.job import Batches, Job, delivered, storable

STAND_INS = (
    "torchvision",
    "torchvision.datasets",
    "torchvision.transforms",
    "torchvision.transforms.functional",
)


def _stand_in_for_torchvision() -> None:
    """Give ``streaming.vision`` the two names it imports; nothing here uses them.

    torchvision from the package index is built for CUDA and does not load beside a CPU torch.
    """
    sys.modules |= {name: ModuleType(name) for name in STAND_INS}
    sys.modules["torchvision.datasets"].VisionDataset = object  # type: ignore[attr-defined]
    sys.modules["torchvision.transforms.functional"].to_tensor = None  # type: ignore[attr-defined]


# transformers looks for torchvision when it is imported, and must not find the stand-in.
importlib.import_module("transformers.utils.import_utils")
_stand_in_for_torchvision()

from streaming import MDSWriter, StreamingDataLoader, StreamingDataset  # noqa: E402
from streaming.base.util import clean_stale_shared_memory  # noqa: E402

for _name in STAND_INS:
    del sys.modules[_name]


def write(case: Case, folder: Path) -> None:
    """Write arrays of a fixed shape, uncompressed, in shards of the default size."""
    number = "float16" if case.dtype == "float16" else "int16"
    kind = f"ndarray:{number}:{','.join(map(str, case.shape))}"
    with MDSWriter(out=str(folder), columns={"z": kind}) as writer:
        for block in iter_blocks(case):
            for row in storable(block, case):
                writer.write({"z": row})


def open_passes(job: Job) -> Callable[[], Batches]:
    """Return passes of their data set under their loader."""
    clean_stale_shared_memory()
    dataset = StreamingDataset(
        local=str(job.folder),
        shuffle=True,
        shuffle_algo=job.option,
        batch_size=job.case.batch_size,
        num_canonical_nodes=1,
    )
    loader = StreamingDataLoader(
        dataset,
        batch_size=job.case.batch_size,
        drop_last=True,
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
    )
    return lambda: (delivered(batch["z"], job) for batch in loader)
