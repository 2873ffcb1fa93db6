"""What a cache must know about an encoder before it may store a single value.

An adapter declares an ``EncoderSpec``; the conformance suite in ``latentcache.testing``
checks every declaration, because attributes of released models are wrong often enough
(docs/encoders.md, "Declared is not measured").

Dimension letters: B batch, C channels, T frames, H height, W width, N tokens,
Q codebooks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from latentcache.core.fields import Field
from latentcache.core.fingerprint import fingerprint
from latentcache.core.frames import FrameRule
from latentcache.core.media import Bucket

if TYPE_CHECKING:  # declared facts are listed and estimated with without loading torch
    import torch

Posterior = Literal[
    "gaussian", "gaussian_shared_logvar", "point", "vq", "fsq", "rvq", "hierarchical"
]
PosteriorPolicy = Literal["moments", "mode", "sample"]
"""What is stored of a Gaussian posterior: mean and logvar, mean alone, or one draw."""

PLAIN_SCALAR = str | int | float | bool | None


NormalizerSource = Literal["config", "buffer", "file", "preset", "class"]
NormalizerOpName = Literal["patchify", "pack", "subtract", "divide", "multiply", "add", "permute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NormalizerOp:
    """One invertible step from the encoder's space to the DiT's.

    Attributes:
        op: ``patchify`` and ``pack`` take ``size``; ``permute`` takes ``axes``; the
            arithmetic ones take ``values``, broadcast over the axis named by ``axis``.
            ``patchify`` is ``torch.pixel_unshuffle``: channel ``c`` at (y, x) of a patch
            becomes channel ``(c * size + y) * size + x``; with ``axes`` of ``HWC`` it becomes
            ``(y * size + x) * C + c``.
        values: One value, or one per entry of ``axis``.
        axis: ``C`` (default), ``CT`` (row-major channel x latent frame), ``CHW``.
        size: Patch edge for ``patchify``; latent frames of a ``CT`` table, of which a clip
            takes the first ones.
        axes: Target order for ``permute``; order within a patch for ``patchify``.
    """

    op: NormalizerOpName
    values: tuple[float, ...] = ()
    axis: str = "C"
    size: int = 0
    axes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalizer:
    """Published normalization: recorded beside the latents, applied by the loader.

    Attributes:
        ops: In the order they are applied to a native latent.
        source: Where the numbers came from: ``config``, ``buffer``, ``file``, ``preset``, or
            ``class`` for the defaults of the model's class, which its pipelines use where
            config.json is silent.
    """

    ops: tuple[NormalizerOp, ...]
    source: NormalizerSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Codebook:
    """What the integers of an ``indices`` field may be.

    Attributes:
        size: Entries of one codebook; indices are below it.
        num_codebooks: Length of the ``Q`` axis; 1 without one.
        levels: Levels per dimension of a finite scalar quantiser, else empty.
        dim: Length of an entry's vector; 0 where there is none.
        digest: SHA-256 of the table of vectors, float32; "" where there is none.
    """

    size: int
    num_codebooks: int = 1
    levels: tuple[int, ...] = ()
    dim: int = 0
    digest: str = ""


Streaming = Literal["exact", "ulp", "none"]
"""Chunks with carried state give the whole clip's values: bit for bit, to 1e-5, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSpec:
    """Everything the cache must know of one loaded encoder.

    Attributes:
        name: As on the command line, e.g. ``sdxl``.
        impl: The code that computes, e.g. ``diffusers.AutoencoderKL``.
        impl_version: Version of *our* adapter's arithmetic; raise it when values change.
        modality: What one sample is.
        fields: What ``encode`` leaves per sample, before the posterior policy.
        posterior: Kind of posterior.
        input_range: Pixel values at 0 and 255 once scaled, e.g. (-1.0, 1.0).
        input_channels: 3, or 4 for RGBA models.
        spatial_factor: Pixels per latent cell, (vertical, horizontal).
        multiple_of: Heights and widths must be multiples of these.
        fixed_size: The only (height, width) the model takes, or None.
        frame_rule: Legal frame counts; the default takes single images only when
            ``modality`` is ``image``.
        max_size_px: Largest height or width, or None.
        normalizer: Published normalization, or None if there is none.
        max_batch: Largest batch the model takes, or None.
        is_batch_coupled: A row's values depend on its neighbours (SVG); such an encoder
            runs with batch 1.
        is_reentrant: Two threads may use one instance.
        is_causal: A prefix of a clip, legal and longer than one frame, gives a prefix of its
            latents; ``image_is_first_frame`` speaks of the one frame.
        image_is_first_frame: A single image gives the first latent frame of a clip.
        streaming: How exact ``StreamingEncoder.open`` is.
        streaming_refusal: Why clips cannot come in pieces; what to do instead. "" if they can.
        codebook: For encoders that leave ``indices``.
        compute_dtype: Dtype of the forward pass.
        forbidden_dtypes: Compute dtypes that overflow or lose too much.
        knobs: Everything else that changes values: tiling, slicing, kept coefficients ...
        weights_digest: SHA-256 over the state dict, buffers included; "" if weight-free.
        former_digests: What earlier releases took for ``weights_digest``; not hashed, and looked
            for in stores that they wrote.
        notes: What was found beside the weights that has no effect; said once by a run, not hashed.
        weights_licence: As far as known, for ``latentcache encoders``.
    """

    name: str
    impl: str
    impl_version: int
    modality: Literal["image", "video", "audio", "text"]
    fields: tuple[Field, ...]
    posterior: Posterior
    input_range: tuple[float, float]
    spatial_factor: tuple[int, int]
    multiple_of: tuple[int, int]
    compute_dtype: str
    weights_digest: str
    input_channels: int = 3
    fixed_size: tuple[int, int] | None = None
    frame_rule: FrameRule = field(default_factory=FrameRule)
    max_size_px: int | None = None
    normalizer: Normalizer | None = None
    max_batch: int | None = None
    is_batch_coupled: bool = False
    is_reentrant: bool = False
    is_causal: bool = False
    image_is_first_frame: bool = True
    streaming: Streaming = "none"
    streaming_refusal: str = ""
    codebook: Codebook | None = None
    forbidden_dtypes: frozenset[str] = frozenset()
    knobs: Mapping[str, PLAIN_SCALAR] = field(default_factory=dict)
    former_digests: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    weights_licence: str = "unknown"

    def refusal(self, bucket: Bucket) -> str | None:
        """Return why ``bucket`` cannot be encoded, or None if it can."""
        if self.modality == "text":
            return None  # whatever the size of the medium that a text belongs to
        if self.modality == "image" and bucket.num_frames != 1:
            return f"{bucket} has {bucket.num_frames} frames, {self.name} takes single images"
        if not self.frame_rule.admits(bucket.num_frames):
            return (
                f"{bucket} has {bucket.num_frames} frames, {self.name} takes {self.frame_rule.text}"
            )
        return self._size_refusal(bucket)

    def _size_refusal(self, bucket: Bucket) -> str | None:
        size = (bucket.height_px, bucket.width_px)
        if self.fixed_size is not None and size != self.fixed_size:
            only = f"{self.fixed_size[0]}x{self.fixed_size[1]}"
            return f"{bucket} is not {only} px, the only size {self.name} takes"
        if size[0] % self.multiple_of[0] or size[1] % self.multiple_of[1]:
            rule = f"{self.multiple_of[0]}x{self.multiple_of[1]}"
            return f"{bucket} is not a multiple of {rule} px, as {self.name} needs"
        if self.max_size_px is not None and max(size) > self.max_size_px:
            return f"{bucket} is larger than {self.name}'s {self.max_size_px} px"
        return None

    def identity(self) -> dict[str, Any]:
        """Return the part of the spec that can change a stored value; it is hashed.

        Library versions, the normalizer and pure declarations are recorded, not hashed.
        The name is left out too: one set of weights under two presets is one encoding.
        """
        return {
            "impl": self.impl,
            "impl_version": self.impl_version,
            "compute_dtype": self.compute_dtype,
            "input_range": list(self.input_range),
            "input_channels": self.input_channels,
            "knobs": dict(self.knobs),
            "weights_digest": self.weights_digest,
        }

    def fingerprint(self) -> str:
        """Return the hash of ``identity``."""
        return fingerprint(self.identity())


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMeta:
    """What an encoder may know of one row of its batch.

    Attributes:
        key: The sample's key; "" for a filler row.
        frame_rate_fps: Of the clip as it is encoded; 0.0 for images.
        seed: For encoders that draw: 63 bits keyed by the run's seed and the sample's key, the
            same in any batch, order and process. A generator of the batch would give a row
            other noise beside other rows. An encoder that uses it puts ``draws`` or the like
            into its knobs: the run's seed itself is in the fingerprint of drawn posteriors only.
    """

    key: str
    frame_rate_fps: float = 0.0
    seed: int = 0


@runtime_checkable
class Encoder(Protocol):
    """The least a third party writes: ``spec``, ``device``, ``encode`` and ``reset``."""

    spec: EncoderSpec
    device: "torch.device"

    def encode(
        self, pixels: "torch.Tensor", metas: Sequence[SampleMeta]
    ) -> "list[dict[str, torch.Tensor]]":
        """Return one dict of fields per sample, in the encoder's own space.

        Args:
            pixels: On ``device``, float32 in ``spec.input_range``: BCHW for images,
                BCTHW for video. The encoder casts to its compute dtype *after* scaling.
            metas: One per row.
        """
        ...

    def reset(self) -> None:
        """Drop all mutable state; called after every error."""
        ...


@runtime_checkable
class DecodingEncoder(Encoder, Protocol):
    """An encoder that can go back, for fidelity checks."""

    def decode(self, fields: "Mapping[str, torch.Tensor]") -> "torch.Tensor":
        """Return pixels, float32 on the scale of ``spec.input_range``: BCHW or BCTHW.

        Values may overshoot the range a little; who shows or scores them clamps.

        Args:
            fields: Stored fields with a leading batch axis.
        """
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """An encoder of texts.

    What a text gives must depend on it and on the shape of its batch alone.
    """

    spec: EncoderSpec
    device: "torch.device"

    def tokens(self, texts: Sequence[str]) -> "Sequence[Tokenized]":
        """Return the tokens of each text, cut at the encoder's maximum."""
        ...

    def padded_length(self, num_tokens: int) -> int:
        """Return the padded length that so many tokens are encoded at."""
        ...

    def encode(
        self, texts: Sequence[str], metas: Sequence[SampleMeta]
    ) -> "list[dict[str, torch.Tensor]]":
        """Return ``z`` [N, C], ``lengths`` [1] and what else is declared of each text.

        Args:
            texts: All of one padded length; "" for filler rows.
            metas: One per text.
        """
        ...

    def reset(self) -> None:
        """Drop all mutable state; called after every error."""
        ...


class Tokenized(Protocol):
    """One text as its model reads it."""

    @property
    def ids(self) -> Sequence[int]:
        """Numbers of its tokens."""
        ...

    @property
    def num_cut(self) -> int:
        """Tokens left out because it is longer than the encoder takes."""
        ...


class EncoderStream(Protocol):
    """One clip on its way through a ``StreamingEncoder``, with the state it carries."""

    def push(self, frames: "torch.Tensor") -> "dict[str, torch.Tensor] | None":
        """Return the fields that ``frames`` (CTHW, any T) complete, or None if none are."""
        ...

    def close(self) -> "dict[str, torch.Tensor] | None":
        """Return what a shorter last group of frames still gives, or None; drop the state.

        Raises:
            EncoderError: The clip ended within a latent frame.
        """
        ...


@runtime_checkable
class StreamingEncoder(Encoder, Protocol):
    """An encoder of clips of any length in bounded memory."""

    def open(self, height_px: int, width_px: int) -> EncoderStream:
        """Return a new stream; streams of one encoder do not disturb each other.

        Raises:
            EncoderError: ``spec.streaming`` is ``none``; says why and what to do instead.
        """
        ...


@runtime_checkable
class QuantizingEncoder(Encoder, Protocol):
    """An encoder whose indices name code vectors."""

    def codes_from_indices(self, indices: "torch.Tensor") -> "torch.Tensor":
        """Return the code vectors of a batch of indices."""
        ...

    def indices_from_codes(self, codes: "torch.Tensor") -> "torch.Tensor":
        """Return the indices of a batch of code vectors; inverse of the other."""
        ...
