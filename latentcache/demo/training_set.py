"""The demo's training pictures or clips, as a model's samples are judged by them.

Dimension letters: B samples, K classes, N training pictures, L tokens of a caption, D their width;
a clip is a picture with T frames.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentcache.demo.page.training_facts import RightIn, SampleGrid
from latentcache.encoders import DecodingEncoder
from latentcache.evaluate import load_recorded_encoder
from latentcache.report import Rgb
from latentcache.store import ColumnView, Store, TensorBytes
from latentcache.train import Condition

_DECODED_AT_ONCE = 64
_AT_ONCE = 8192
"""Values of each picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Every training picture as its stored latent decodes, with its label.

    Distances are squared and over all pixels, 8-bit RGB.

    Attributes:
        encoder: That made the latents, and decodes samples the same way.
        names: Of the classes.
        keys: Of the samples in the store.
        latents: As stored, [N, C, H, W], of clips [N, C, T, H, W].
        labels: int64 [N].
        pixels: uint8 [N, H, W, 3], of clips [N, T, H, W, 3].
        captions: Of each class as it is embedded in the store, float32 [K, L, D]; None where a
            model is told labels.
    """

    encoder: DecodingEncoder
    names: Sequence[str]
    keys: Sequence[str]
    latents: Tensor
    labels: Tensor
    pixels: Tensor
    captions: Tensor | None = None

    @classmethod
    def read(
        cls, store: Path, *, column: str, names: Sequence[str], text_column: str = ""
    ) -> "TrainingSet":
        """Return what the store's newest snapshot holds.

        Args:
            store: With labels.
            column: Of the latents.
            names: Of the classes, by label.
            text_column: Of their embedded captions, if a model is told those.
        """
        snapshot = Store.open(store).snapshot()
        view = snapshot.column(column)
        encoder = load_recorded_encoder(view.record, device="cpu")
        annotation = snapshot.annotation("label")
        assert annotation is not None, "the class corpus has a table of labels"
        keys, latents, labels = [], [], []
        for key, unit, row, fields in view.iter_samples():
            stored = fields["z"]
            assert not isinstance(stored, TensorBytes), "dct stores float16"
            keys.append(key)
            latents.append(torch.from_numpy(np.array(stored)))
            labels.append(annotation.value(unit.shard, row))
        joined = torch.stack(latents)
        captions = None
        if text_column:
            by_key = dict(zip(keys, labels, strict=True))
            captions = _captions(snapshot.column(text_column), by_key)
        return cls(
            encoder=encoder,
            names=names,
            keys=keys,
            latents=joined,
            labels=torch.tensor(labels),
            pixels=decode(encoder, joined),
            captions=captions,
        )

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.names)

    def told(self, labels: Tensor) -> Condition:
        """Return what a model is told of classes [B]: their captions, or the labels themselves."""
        if self.captions is None:
            return labels
        texts = self.captions[labels]
        return texts, torch.ones(texts.shape[:2], dtype=torch.bool)

    def asked(self, label: int) -> str:
        """Return what a model is asked for, in words."""
        return self.names[label] if self.captions is None else f"a {self.names[label]}"

    def right_in(self, grid: SampleGrid) -> tuple[RightIn, ...]:
        """Return in how many samples the nearest class is right in colour, shape, direction."""
        words = [name.split() for name in self.names]
        parts = [("colour", 0), ("shape", 1), ("direction", -1)][: 3 if len(words[0]) > 2 else 2]
        pairs = list(zip(grid.asked, grid.found, strict=True))
        return tuple(
            RightIn(
                name=name,
                num_right=sum(words[one][at] == words[other][at] for one, other in pairs),
                num_choices=len({each[at] for each in words}),
            )
            for name, at in parts
        )

    def class_means(self) -> Tensor:
        """Return the mean picture of each class, float32 [K, values of a picture]."""
        flat = _flat(self.pixels)
        return torch.stack(
            [flat[self.labels == label].mean(dim=0) for label in range(self.num_classes)]
        )

    def nearest_class(self, pixels: Tensor) -> Tensor:
        """Return the class whose mean is nearest to each picture, int64 [B]."""
        return _distances(_flat(pixels), self.class_means()).argmin(dim=1)

    def nearest_picture(self, pixels: Tensor) -> Tensor:
        """Return the index of the training picture nearest to each picture, int64 [B]."""
        return _distances(_flat(pixels), _flat(self.pixels)).argmin(dim=1)

    def own_accuracy(self) -> float:
        """Return the share of training pictures nearest to their own class, left out of its mean.

        Without picture x, the mean m of n pictures lies ``n / (n - 1)`` times as far from x.
        """
        distances = _distances(_flat(self.pixels), self.class_means())
        count = torch.bincount(self.labels)[self.labels].to(distances.dtype)
        own = distances.gather(1, self.labels[:, None])
        further = (count / (count - 1)).square()[:, None]
        distances.scatter_(1, self.labels[:, None], own * further)
        return float((distances.argmin(dim=1) == self.labels).double().mean())

    def picture(self, index: int) -> Rgb:
        """Return one training picture."""
        return np.asarray(self.pixels[index])


def decode(encoder: DecodingEncoder, latents: Tensor) -> Tensor:
    """Return pictures of dct's latents [B, C, (T,) H, W], uint8 [B, (T,) height, width, 3]."""
    parts = [
        encoder.decode({"z": latents[start : start + _DECODED_AT_ONCE].to(torch.float32)})
        for start in range(0, len(latents), _DECODED_AT_ONCE)
    ]
    low, high = encoder.spec.input_range
    pixels = (torch.cat(parts) - low) * (255.0 / (high - low))
    return pixels.round().clamp(0, 255).to(torch.uint8).movedim(1, -1).contiguous()


def _captions(view: ColumnView, labels: Mapping[str, int]) -> Tensor:
    """Return the embedding of each class's caption; all have as many tokens."""
    found = {
        labels[key]: torch.from_numpy(np.array(fields["z"], dtype=np.float32))
        for key, _, _, fields in view.iter_samples()
    }
    return torch.stack([found[label] for label in sorted(found)])


def _flat(pixels: Tensor) -> Tensor:
    return pixels.flatten(1).to(torch.float32)


def _distances(first: Tensor, second: Tensor) -> Tensor:
    """Return squared distances, float64: products of bytes are exact in it."""
    total = torch.zeros(len(first), len(second), dtype=torch.float64)
    # Clips are long: all of them at once would take half a gigabyte.
    for start in range(0, first.shape[1], _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        x, y = first[:, part].to(torch.float64), second[:, part].to(torch.float64)
        squares = x.square().sum(dim=1)[:, None] + y.square().sum(dim=1)[None]
        total += squares - 2 * x @ y.T
    return total
