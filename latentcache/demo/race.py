"""The demo's race: the loader against a folder of safetensors under a torch DataLoader."""

import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset, RandomSampler

from latentcache.demo.page.training_facts import LoaderRace, LoaderSpeed
from latentcache.demo.threads import torch_threads
from latentcache.demo.training_set import TrainingSet
from latentcache.loader import LatentLoader

BATCH_SIZE = 64
_WARM_UP_BATCHES = 12
"""One epoch of the demo's store and more: every file has been read, workers are busy."""
_MEASURED_S = 1.5
_ENDLESS = 10**9


class FileFolder(Dataset[dict[str, torch.Tensor]]):
    """A folder with one safetensors file a sample."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted(str(path) for path in folder.glob("*.safetensors"))

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return load_file(self._files[index])


def write_files(folder: Path, known: TrainingSet) -> None:
    """Write every latent with its label into a file of its own."""
    folder.mkdir()
    for key, latent, label in zip(known.keys, known.latents, known.labels, strict=True):
        tensors = {"latents": latent.contiguous(), "label": label.clone()}
        save_file(tensors, folder / f"{key}.safetensors")


def race_loaders(store: Path, folder: Path, known: TrainingSet, *, seed: int = 0) -> LoaderRace:
    """Return how many samples a second each way gives, on the same latents."""
    write_files(folder, known)
    others = []
    for num_workers in (0, 2):
        name = f"folder, {num_workers or 'no'} workers"
        batches = _data_loader(folder, num_workers, seed)
        others.append(LoaderSpeed(name=name, samples_per_s=_samples_per_s(batches)))
    loader = LatentLoader(
        str(store),
        columns=["latents", "label"],
        global_batch_size=BATCH_SIZE,
        seed=seed,
        normalize="measured-global",
    )
    shape = " x ".join(str(size) for size in known.latents.shape[1:])
    return LoaderRace(
        loader=LoaderSpeed(name="store, LatentLoader", samples_per_s=_samples_per_s(loader)),
        others=tuple(others),
        num_samples=len(known.keys),
        batch_size=BATCH_SIZE,
        what=f"latents of {shape} in float16",
    )


def _data_loader(folder: Path, num_workers: int, seed: int) -> Iterable[Any]:
    files = FileFolder(folder)
    shuffled = RandomSampler(
        # Epoch after epoch in one iterator: starting one anew is not what is measured.
        files,
        num_samples=_ENDLESS,
        generator=torch.Generator().manual_seed(seed),
    )
    return DataLoader(files, batch_size=BATCH_SIZE, sampler=shuffled, num_workers=num_workers)


def _samples_per_s(batches: Iterable[Any]) -> float:
    # One thread: with more, a few kilobytes a batch are mostly spent on waiting for each other.
    with torch_threads(1):
        iterator = iter(batches)
        for batch in islice(iterator, _WARM_UP_BATCHES):
            _look_at(batch)
        num_samples, started_s = 0, time.perf_counter()
        while (elapsed_s := time.perf_counter() - started_s) < _MEASURED_S:
            num_samples += _look_at(next(iterator))
        return num_samples / elapsed_s


def _look_at(batch: Any) -> int:
    """Return how many samples came; labels are read when they are first looked at."""
    return min(len(batch["latents"]), len(batch["label"]))
