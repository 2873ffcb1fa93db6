"""A model of one's own with a quantizer of ``vector-quantize-pytorch``, as a tokenizer.

That package has quantizers and no encoders: what comes before (and after) is the caller's module.
The package is not imported here; its ``FSQ``, ``LFQ`` and ``VectorQuantize`` are known by name.

Dimension letters: B batch, C channels, T frames, H height, W width, K entries of a codebook, D size
of one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from latentcache.core.errors import EncoderError
from latentcache.core.frames import FrameRule
from latentcache.encoders.discrete.load_tokens import identified, measured_factor
from latentcache.encoders.discrete.token_encoder import CodebookEncoder, PixelRule
from latentcache.encoders.discrete.token_rows import TokenRow, index_field
from latentcache.encoders.load_options import EncoderOptions, choose_device, choose_dtype
from latentcache.encoders.spec import PLAIN_SCALAR, Codebook

_KNOWN = ("FSQ", "LFQ", "VectorQuantize")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerParts:
    """What a tokenizer is made of, in ``eval``.

    Attributes:
        encode: Pixels, BCHW or BCTHW, to what the quantizer takes, channels second.
        quantizer: ``FSQ``, ``LFQ`` or ``VectorQuantize``, of one codebook.
        decode: Vectors [B, D, ...] to pixels on the scale that came in; None where there is none.
        weights_digest: SHA-256 of all weights, the quantizer's among them.
        name: For people.
        impl: Module and name of the code, e.g. ``own_tokenizer.OwnTokenizer``.
        impl_version: To be raised whenever the code gives other values for the same weights.
        input_range: Pixels at 0 and 255.
        frame_rule: Legal frame counts of clips; None for a tokenizer of pictures.
        is_causal: See ``EncoderSpec``.
        image_is_first_frame: See ``EncoderSpec``.
        knobs: What changes values besides.
    """

    encode: Callable[[torch.Tensor], torch.Tensor]
    quantizer: Any
    decode: Callable[[torch.Tensor], torch.Tensor] | None = None
    weights_digest: str
    name: str
    impl: str
    impl_version: int = 1
    input_range: tuple[float, float] = (-1.0, 1.0)
    frame_rule: FrameRule | None = None
    is_causal: bool = False
    image_is_first_frame: bool = False
    knobs: Mapping[str, PLAIN_SCALAR] = field(default_factory=dict)


def tokenizer_of(parts: TokenizerParts, options: EncoderOptions) -> CodebookEncoder:
    """Return a tokenizer of one's own, with its codebook named and its factor measured.

    Args:
        parts: Its modules must lie on the device already, ``choose_device(options.device)``.
        options: Of the run.

    Raises:
        ConfigError: The device or dtype is wrong; indices are computed in float32.
        EncoderError: The quantizer is none that is known, or would change while it encodes.
    """
    device = choose_device(options.device)
    model = QuantizerModel(parts)
    row = TokenRow(
        name=parts.name,
        title=parts.name,
        impl=parts.impl,
        factor=1,
        size=model.codebook.size,
        posterior="fsq" if model.codebook.levels else "vq",
        frame_rule=parts.frame_rule,
        input_range=parts.input_range,
        is_causal=parts.is_causal,
        image_is_first_frame=parts.image_is_first_frame,
    )
    facts = row.facts()
    forbidden = facts.spec.forbidden_dtypes
    choose_dtype(options.dtype, name=row.name, default="float32", forbidden=forbidden)
    codebook = identified(model.codebook, model.table())
    spec = replace(
        facts.spec,
        impl_version=parts.impl_version,
        fields=(index_field(codebook, is_video=parts.frame_rule is not None),),
        codebook=codebook,
        weights_digest=parts.weights_digest,
        knobs={"codebook": codebook.size, "quantizer": model.kind, **parts.knobs},
    )
    encoder = CodebookEncoder(model, spec, device, PixelRule())
    factor = measured_factor(encoder, parts.name)
    encoder.spec = replace(spec, spatial_factor=factor, multiple_of=factor)
    return encoder


class QuantizerModel:
    """The parts, called as each quantizer wants it."""

    def __init__(self, parts: TokenizerParts) -> None:
        """Keep the parts.

        Raises:
            EncoderError: The quantizer is none that is known, has several codebooks, or would
                change while it encodes.
        """
        self._parts, quantizer = parts, parts.quantizer
        self.kind = type(quantizer).__name__
        if self.kind not in _KNOWN:
            raise EncoderError(
                f"quantizer must be one of {', '.join(_KNOWN)}, got {self.kind} ({parts.name}); "
                "write an adapter of your own (docs/encoders.md)"
            )
        books = getattr(quantizer, "num_codebooks", 1) * getattr(quantizer, "heads", 1)
        if books != 1:
            raise EncoderError(
                f"quantizer must have one codebook, got {books} ({parts.name}); write an adapter "
                "with an axis Q"
            )
        _check_settled(quantizer, parts.name)
        self.codebook = Codebook(size=int(quantizer.codebook_size), levels=_levels(quantizer))

    def indices(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return int64 indices, BHW of pictures and BTHW of clips."""
        hidden = self._parts.encode(pixels)
        if self.kind == "VectorQuantize":  # whether it takes a grid or a list, it is given a list
            flat = hidden.flatten(2)
            takes_grid = self._parts.quantizer.accept_image_fmap
            given = flat[..., None] if takes_grid else flat.transpose(1, 2)
            found = self._parts.quantizer(given)[1].reshape(len(hidden), *hidden.shape[2:])
        else:
            found = self._parts.quantizer(hidden)[1]
        return torch.as_tensor(found).long()

    def table(self) -> torch.Tensor:
        """Return the vectors [K, D] that the decoder is given."""
        quantizer = self._parts.quantizer
        with torch.inference_mode():
            if self.kind == "VectorQuantize":
                table: torch.Tensor = quantizer.project_out(quantizer.codebook)
            else:
                device = next((one.device for one in quantizer.buffers()), None)
                numbers = torch.arange(self.codebook.size, device=device)
                table = quantizer.indices_to_codes(numbers)
        return table.detach().clone()

    def decode(self, indices: torch.Tensor) -> torch.Tensor | None:
        """Return pixels on the scale that came in; None without a decoder."""
        if self._parts.decode is None:
            return None
        return self._parts.decode(self.table()[indices].movedim(-1, 1).contiguous())


def _check_settled(quantizer: Any, name: str) -> None:
    """Refuse a quantizer that the first batches would change."""
    if quantizer.training:
        raise EncoderError(
            f"quantizer must be in eval, got one in training, which changes its codebook at every "
            f"call ({name}); call .eval() on the model"
        )
    initted = getattr(getattr(quantizer, "_codebook", None), "initted", None)
    if initted is not None and not bool(initted.all()):
        raise EncoderError(
            f"codebook must be initialized, got one that k-means would make of the first batch, "
            f"in eval too ({name}); load trained weights"
        )


def _levels(quantizer: Any) -> tuple[int, ...]:
    """Return the levels of a finite quantizer whose codes are its vectors; () of others."""
    is_plain = type(quantizer).__name__ == "FSQ" and not quantizer.has_projections
    if not is_plain or getattr(quantizer, "preserve_symmetry", False):
        return ()
    return tuple(int(each) for each in quantizer._levels)
