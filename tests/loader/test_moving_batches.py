"""A batch is moved, rebuilt, copied and pickled by the frameworks' own code."""

import copy
import importlib.util
import pickle
from typing import Any

import pytest
import torch

from latentcache.core.errors import ConfigError
from latentcache.loader import Batch, LatentLoader
from latentcache.store import Store


@pytest.fixture
def batch(store: Store) -> Batch:
    columns = ["latents", "caption", "label"]
    return next(iter(LatentLoader(store, columns=columns, global_batch_size=6)))


def check_equal(one: Any, two: Any) -> None:
    assert list(one) == list(two)
    for name in one:
        is_tensor = isinstance(one[name], torch.Tensor)
        assert torch.equal(one[name], two[name]) if is_tensor else one[name] == two[name]


def test_a_copy_and_a_pickle_are_whole(batch: Batch) -> None:
    for other in (pickle.loads(pickle.dumps(batch)), copy.copy(batch), copy.deepcopy(batch)):
        check_equal(other, batch)
        assert (other.facts, other.state) == (batch.facts, batch.state)


def test_one_that_is_rebuilt_has_its_values_and_says_what_it_lacks(batch: Batch) -> None:
    rebuilt = type(batch)({name: batch[name] for name in batch})
    check_equal(rebuilt, batch)
    with pytest.raises(ConfigError, match="state must be asked of the loader's own batch"):
        _ = rebuilt.state


def test_moving_reads_only_what_is_asked_for(batch: Batch) -> None:
    moved = batch.to("cpu", non_blocking=True)
    assert moved.facts == batch.facts
    assert moved.state == batch.state
    check_equal(moved, batch)
    assert batch.to("meta")["latents"].device.type == "meta"
    assert batch.to("meta")["caption"] == batch["caption"]


def test_accelerate_moves_it(batch: Batch) -> None:
    if importlib.util.find_spec("accelerate") is None:
        pytest.skip("accelerate is not installed; install the extra named frameworks")
    from accelerate.utils import find_batch_size, send_to_device  # noqa: PLC0415

    moved = send_to_device(batch, torch.device("cpu"), non_blocking=True)
    check_equal(moved, batch)
    assert moved.facts == batch.facts
    assert find_batch_size(batch) == 6


def test_lightning_moves_it(batch: Batch) -> None:
    if importlib.util.find_spec("lightning") is None:
        pytest.skip("lightning is not installed; install the extra named frameworks")
    from lightning.fabric.utilities import move_data_to_device  # noqa: PLC0415

    moved = move_data_to_device(batch, torch.device("cpu"))
    check_equal(moved, batch)
    assert moved.facts == batch.facts
