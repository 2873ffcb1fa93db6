"""A reader of format 1 for those without latentcache, written from docs/format.md."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import safetensors


def read_store(root: Path, column: str) -> Iterator[dict]:
    """Yield every encoded sample of a column: its plan row, and its tensors as raw bytes."""
    numbers = [
        int(path.stem) for path in (root / "snapshots").glob("*.json") if path.stem.isdigit()
    ]
    snapshot = json.loads((root / f"snapshots/{max(numbers)}.json").read_text())
    assert snapshot["format"] == 1
    plan = {}
    for generation in snapshot["generations"]:
        for part in json.loads((root / f"plan/{generation['number']}.json").read_text())["parts"]:
            for row in pyarrow.parquet.read_table(root / part["name"]).to_pylist():
                plan[row["shard"], row["row"]] = row
    units = pyarrow.parquet.read_table(root / snapshot["columns"][column]["units"]["name"])
    for unit in units.to_pylist():
        if unit["tar_name"] is None:
            continue
        meta = dict(safetensors.deserialize((root / unit["meta_name"]).read_bytes()))
        present = [index for index, flag in enumerate(meta["present"]["data"]) if flag]
        with tarfile.open(root / unit["tar_name"], "r:") as tar:
            for index, member in zip(present, tar, strict=True):
                row = plan[unit["shard"], unit["first_row"] + index]
                assert member.name == f"{row['key']}.{column}.safetensors"
                tensors = safetensors.deserialize(tar.extractfile(member).read())
                yield {**row, "tensors": dict(tensors)}
