"""Between two samples: their latents mixed, and decoded.

Dimension letters: C channels, T frames, H height, W width.
"""

from torch import Tensor

from latentcache.compare.looks.pixel_look import picture
from latentcache.compare.looks.sample_reading import SampleReader, decode, has_grid
from latentcache.compare.looks.seen import Seen
from latentcache.compare.measured import Measured
from latentcache.core.errors import EncoderError

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)


class BetweenLook:
    """Keeps the first latent, and the last one of its shape."""

    def __init__(self, reader: SampleReader) -> None:
        self._reader = reader
        self._ends: list[tuple[Tensor, Seen]] = []

    def see(self, seen: Seen) -> None:
        """Keep a sample that may be an end."""
        latent = seen.latent_CTHW
        if latent is None or not has_grid(self._reader.field.axes) or seen.pair is None:
            return
        if not self._ends:
            self._ends = [(latent, seen)]
        elif latent.shape == self._ends[0][0].shape:
            self._ends[1:] = [(latent, seen)]

    def finish(self, measured: Measured) -> None:
        """Decode what lies between, if two samples have one shape."""
        encoder = self._reader.space.encoder
        if encoder is None or len(self._ends) < 2:
            return
        (first, seen), (last, _) = self._ends
        try:
            for number, share in enumerate(SHARES):
                fields = self._reader.stored_of(first.lerp(last, share), seen.fields)
                frames = decode(encoder, fields)
                measured.pictures[f"between.{number}"] = picture(frames[len(frames) // 2])
        except EncoderError as error:
            measured.note("modelability", f"mixtures of two latents could not be decoded: {error}")
