"""Modelability of a space by trial: crops for the probe, as samples come by.

Dimension letters: N crops, T frames, C channels or colours, H height, W width.
"""

import torch
from torch import Tensor

from latentcache.compare.looks.pixel_look import picture
from latentcache.compare.looks.sample_reading import SampleReader, decode, has_grid
from latentcache.compare.looks.seen import Seen
from latentcache.compare.measured import Measured
from latentcache.compare.metrics.judge import judge_features
from latentcache.compare.metrics.probe import OnTrained, ProbeOptions, run_probe
from latentcache.core.errors import EncoderError
from latentcache.core.seeds import keyed_uint64

MIN_CROPS = 64
CROPS_OF_A_SAMPLE = 4


def are_enough_crops(count: int) -> bool:
    """Whether so many crops are enough to train a probe on."""
    return count >= MIN_CROPS


class ProbeLook:
    """Cuts latents and pixels alike, and trains the probe once all have come."""

    def __init__(self, reader: SampleReader, options: ProbeOptions, on_trained: OnTrained) -> None:
        self._reader, self._options, self._on_trained = reader, options, on_trained
        self._latents: list[Tensor] = []
        self._features: list[Tensor] = []
        self._patch, self._why = 0, ""

    def see(self, seen: Seen) -> None:
        """Cut a few crops of a sample; of a clip, of its first frame."""
        latent, pair = seen.latent_CTHW, seen.pair
        if latent is None or pair is None or not has_grid(self._reader.field.axes):
            return
        original = pair.original_TCHW[0]
        cell = original.shape[-1] // latent.shape[-1]
        if not self._fits(cell, original):
            return
        edge = self._options.crop_px // cell
        rows, columns = (size - edge + 1 for size in latent.shape[-2:])
        for number in range(min(CROPS_OF_A_SAMPLE, rows * columns)):
            at = keyed_uint64(number, seen.sample.key) % (rows * columns)
            top, left = divmod(at, columns)
            self._latents.append(latent[:, 0, top : top + edge, left : left + edge].clone())
            top, left, size = top * cell, left * cell, self._options.crop_px
            pixels = original[None, :, top : top + size, left : left + size]
            self._features.append(judge_features(pixels)[0])

    def finish(self, measured: Measured) -> None:
        """Train, and put what came out into ``measured``."""
        if self._reader.space.encoder is None or self._reader.field.kind == "indices":
            return
        count = len(self._latents)
        if not are_enough_crops(count):
            why = (
                self._why or f"the probe needs {MIN_CROPS} crops, got {count}; compare more samples"
            )
            measured.note("modelability", why)
            return
        try:
            found = run_probe(
                torch.stack(self._latents),
                torch.stack(self._features),
                self._patch,
                self._decoded,
                self._options,
                on_trained=self._on_trained,
            )
        except EncoderError as error:
            measured.note("modelability", f"samples of the probe could not be decoded: {error}")
            return
        measured.values["probe_distance"] = found.distance
        measured.values["probe_loss"] = found.loss
        for number, sample in enumerate(found.samples):
            measured.pictures[f"probe.{number}"] = picture(sample)
        measured.facts["probe"] = {
            "crops": count,
            "crop_px": self._options.crop_px,
            "token_px": self._options.token_px,
            "tokens": self._options.num_tokens**2,
            "seeds": self._options.num_seeds,
            "steps": self._options.num_steps,
            "teraflops_a_seed": round(self._options.tera_flops, 3),
        }

    def _fits(self, cell: int, original: Tensor) -> bool:
        options = self._options
        if cell < 1 or options.token_px % cell:
            self._why = (
                f"a token of the probe must be a whole number of cells, got cells of {cell} px and "
                f"tokens of {options.token_px} px; compare spaces whose factors divide each other"
            )
            return False
        if min(original.shape[-2:]) < options.crop_px:
            self._why = (
                f"samples must be {options.crop_px} px or more for the probe, got "
                f"{original.shape[-1]} x {original.shape[-2]}; build at a higher resolution"
            )
            return False
        self._patch = options.token_px // cell
        return True

    def _decoded(self, latents_NCHW: Tensor) -> Tensor:
        encoder = self._reader.space.encoder
        assert encoder is not None
        pictures = []
        for latent in latents_NCHW:
            fields = self._reader.stored_of(latent[:, None], {})
            pictures.append(decode(encoder, fields)[0])
        return torch.stack(pictures)
