"""What a space costs: tokens and arithmetic of a transformer, hours that a cache saves."""

from latentcache.compare.looks.row_values import RowValues
from latentcache.compare.looks.sample_reading import SampleReader
from latentcache.compare.looks.seen import Seen
from latentcache.compare.measured import Measured

TOKEN_PX = 16
_WIDTH, _DEPTH = 1152, 28
"""Of DiT-XL (Peebles and Xie, "Scalable Diffusion Models with Transformers", 2023, table 1)."""


class CostLook:
    """Counts the tokens of each sample."""

    def __init__(self, reader: SampleReader, num_rows: int) -> None:
        self._reader, self._rows = reader, RowValues(num_rows)

    def see(self, seen: Seen) -> None:
        """Count a sample's tokens, and what they cost."""
        latent = seen.latent_CTHW
        if latent is None:
            return
        frames, height, width = latent.shape[1:]
        cell = max(1, self._reader.bucket(seen.sample).width_px // width)
        patch = max(1, TOKEN_PX // cell)
        tokens = frames * -(-height // patch) * -(-width // patch)
        attention = 4.0 * tokens**2 * _WIDTH * _DEPTH
        self._rows.put(seen.place, "tokens", float(tokens))
        self._rows.put(seen.place, "attention_gflops", attention / 1e9)
        self._rows.put(
            seen.place, "dit_gflops", (24.0 * _WIDTH**2 * tokens * _DEPTH + attention) / 1e9
        )

    def finish(self, measured: Measured) -> None:
        """Put counts into ``measured``."""
        measured.values.update(self._rows.values)
