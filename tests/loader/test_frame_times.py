"""Latent frames end where the encoder's frame rule says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from latentcache.core.media import Bucket
from latentcache.loader import LatentLoader
from latentcache.loader.index.frame_times import latent_frame_spans
from latentcache.store import Store
from latentcache.store.format.tensor_file import TensorEntry
from latentcache.testing.synthetic import SyntheticColumn, add_column, add_generation

CAUSAL = {"first": 1, "step": 4, "latent_first": 1, "latent_step": 1}
GROUPS = {"first": 4, "step": 4, "latent_first": 1, "latent_step": 1}


@pytest.mark.parametrize(
    ("rule", "num_frames", "expected"),
    [
        pytest.param(CAUSAL, 13, [0, 4, 8, 12], id="causal"),
        pytest.param(GROUPS, 12, [3, 7, 11], id="groups-of-four"),
        pytest.param({**CAUSAL, "step": 1}, 3, [0, 1, 2], id="frame-by-frame"),
        pytest.param({**CAUSAL, "step": 8, "latent_step": 2}, 9, [0, 4, 8], id="two-a-group"),
        pytest.param(None, 13, [0, 4, 8, 12], id="no-rule-known"),
    ],
)
def test_latent_frames_end_where_the_rule_says(
    rule: dict[str, int] | None, num_frames: int, expected: list[int]
) -> None:
    column = SyntheticColumn(is_video=True)
    record = replace(column.record(), spec={"frame_rule": rule} if rule else {})
    fields: dict[str, Any] = {
        "z": TensorEntry(name="z", dtype="float16", shape=(4, len(expected), 2, 2), start=0, stop=1)
    }
    spans = latent_frame_spans(record, fields, Bucket(num_frames, 16, 16))
    assert (spans[:, 1] - 1).tolist() == expected
    assert spans[:, 0].tolist() == [0.0, *spans[:-1, 1]]


def test_a_batch_of_clips_has_times_and_one_of_images_has_zeros(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    add_generation(store, [(Bucket(9, 32, 32), 12, 8), (Bucket(1, 64, 64), 12, 8)])
    add_column(store, SyntheticColumn(is_video=True))
    names = ["latents", "latent_times", "latent_spans"]
    loader = LatentLoader(store, columns=names, global_batch_size=4)
    seen = set()
    for _, batch in zip(range(6), loader, strict=False):
        frames = batch.facts.bucket.num_frames
        seen.add(frames)
        expected = [0.0, 4 / 16, 8 / 16] if frames == 9 else [0.0]  # drawn clips have 16 fps
        assert torch.equal(batch["latent_times"], torch.tensor([expected] * 4, dtype=torch.float64))
        spans = [[0.0, 1 / 16], [1 / 16, 5 / 16], [5 / 16, 9 / 16]] if frames == 9 else [[0.0, 0.0]]
        assert torch.equal(batch["latent_spans"], torch.tensor([spans] * 4, dtype=torch.float64))
    assert seen == {1, 9}
