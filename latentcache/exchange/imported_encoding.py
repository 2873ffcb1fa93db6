"""What is said of a cache that is imported, the encoding it becomes, and what can be checked."""

import json
import math
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, get_args

import torch

from latentcache.core.config import unknown_name
from latentcache.core.errors import ConfigError
from latentcache.core.fields import Field
from latentcache.core.fingerprint import canonical_json, fingerprint
from latentcache.core.media import Bucket
from latentcache.encoders import EncoderSpec, declared_facts, load_encoder
from latentcache.exchange.layouts.foreign import ForeignSample, Kind, Values, by_stem
from latentcache.exchange.layouts.known_layouts import LAYOUTS
from latentcache.plan import MEDIA_EXTENSIONS
from latentcache.stats import ColumnStatistics, Moments, fits_published, published_misfit
from latentcache.storage import Folder
from latentcache.store import BatchRule, EncodingRecord

_MAX_TAR_BYTES = 2**30
_MAX_ROWS = 4096
_DTYPES = {torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16"}


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What a cache is, and what it cannot tell.

    Attributes:
        layout: One of ``LAYOUTS``.
        encoder: That made it: ``NAME``, or ``NAME:WEIGHTS`` whose figures and digest are taken.
        values: ``raw`` or ``scaled``; "" where the layout tells.
        kind: ``mean``, ``sample`` or ``moments``; likewise.
        column: That it becomes.
        corpus: The source pictures, to tell hashed names and endings; "" without.
        is_checked: Refuse values that look like the other space.
        told: What a layout wants to know beside, by name.
    """

    layout: str
    encoder: str
    values: str = ""
    kind: str = ""
    column: str = "latents"
    corpus: str = ""
    is_checked: bool = True
    told: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ConfigError(unknown_name("layout", self.layout, [*LAYOUTS], where="of a cache"))
        known = LAYOUTS[self.layout]
        for name, given, there, words in (
            ("values", self.values, known.values, get_args(Values)),
            ("posterior", self.kind, known.kind, get_args(Kind)),
        ):
            if given not in ("", *words):
                raise ConfigError(f"{name} must be {', '.join(words)}, got {given!r}")
            if not given and there is None:
                raise ConfigError(
                    f"{name} must be given for {self.layout}, whose models differ in it; it is "
                    f"{' or '.join(words)}: docs/exchange.md says what each writes"
                )

    @property
    def space(self) -> str:
        """``raw`` or ``scaled``."""
        return self.values or str(LAYOUTS[self.layout].values)

    @property
    def stored_kind(self) -> str:
        """``mean``, ``sample`` or ``moments``."""
        return self.kind or str(LAYOUTS[self.layout].kind)

    @cached_property
    def spec(self) -> EncoderSpec:
        """The encoder, as it is loaded where weights are named, else as it is declared.

        Raises:
            ConfigError: There is none of that name.
            EncoderError: The weights cannot be loaded.
        """
        facts = declared_facts(self.encoder.partition(":")[0])
        if facts is None or ":" in self.encoder or not facts.needs_weights:
            return load_encoder(self.encoder).spec
        return facts.spec

    def bucket(self, sample: ForeignSample) -> Bucket:
        """Return the pixels that latents of this shape are of.

        Raises:
            ConfigError: They are of a clip, and the encoder takes pictures.
        """
        *_, height, width = sample.shape
        frames = sample.shape[1] if len(sample.shape) == 4 else 1
        edge = self.packed_edge(sample)
        rule, factor = self.spec.frame_rule, [edge * each for each in self.spec.spatial_factor]
        if frames > 1 and self.spec.modality == "image":
            raise ConfigError(
                f"latents must be of pictures for {self.encoder}, got {sample.shape} of "
                f"{sample.name}; name an encoder of clips"
            )
        steps = (frames - rule.latent_first) // rule.latent_step
        told = sample.num_frames if frames > 1 else None
        num_frames = told or (1 if frames == 1 else rule.first + steps * rule.step)
        return Bucket(num_frames, height * factor[0], width * factor[1])

    def packed_edge(self, sample: ForeignSample) -> int:
        """Return the edge of the patches that are packed into channels: 2 of FLUX.2's, else 1.

        Only of an encoder whose published figures are of packed channels: of others four times
        the channels are another encoder's.
        """
        declared, edge = self.spec.fields[0].channels, 2
        is_packing = self.spec.multiple_of[0] == edge * self.spec.spatial_factor[0]
        channels = sample.shape[0] // (2 if self.stored_kind == "moments" else 1)
        is_packed = declared is not None and channels == edge**2 * declared
        return edge if is_packing and is_packed else 1

    def rows_per_shard(self, sample: ForeignSample) -> int:
        """Return how many samples of this shape make a shard: a tar stays under 1 GiB."""
        row_bytes = math.prod(sample.shape) * sample.dtype.itemsize + 2048
        return min(_MAX_ROWS, 1 << max(0, (_MAX_TAR_BYTES // row_bytes).bit_length() - 1))

    def picture_names(self) -> dict[str, str]:
        """Return the source pictures by path without ending; those that share one are left out."""
        if not self.corpus:
            return {}
        names = (info.name for info in Folder.open(self.corpus).list())
        return by_stem(
            name for name in names if posixpath.splitext(name)[1].lower() in MEDIA_EXTENSIONS
        )

    def told_to_store(self, cache: str) -> dict[str, Any]:
        """Return what the plan and the encoding remember of the import."""
        return {"cache": cache, **self.identity()}

    def identity(self) -> dict[str, Any]:
        """Return what was said of the values: it marks the encoding as imported, and is hashed."""
        return {
            "layout": self.layout,
            "encoder": self.encoder.partition(":")[0],
            "values": self.space,
            "kind": self.stored_kind,
            **({"told": dict(self.told)} if self.told else {}),
        }


def num_channels(request: ImportRequest, sample: ForeignSample) -> int:
    """Return the channels of a latent.

    Raises:
        ConfigError: They are not those of the encoder.
    """
    channels = sample.shape[0] // (2 if request.stored_kind == "moments" else 1)
    declared = request.spec.fields[0].channels
    if declared is not None and channels != declared * request.packed_edge(sample) ** 2:
        raise ConfigError(
            f"latents must have {declared} channels for {request.encoder}, got {sample.shape} of "
            f"{sample.name}; name the VAE that made them"
        )
    return channels


def imported_record(
    request: ImportRequest, sample: ForeignSample, published: dict[str, Any] | None
) -> EncodingRecord:
    """Return the encoding that an import becomes, marked as such.

    Args:
        request: What was said.
        sample: Any one of the cache.
        published: Operations that the cache itself brings, or None.

    Raises:
        ConfigError: The latents' dtype is none of ours.
    """
    if sample.dtype not in _DTYPES:
        raise ConfigError(
            f"latents must be float32, float16 or bfloat16, got {sample.dtype} of {sample.name}"
        )
    spec = request.spec
    fields = tuple(_fields(request, sample))
    identity = {
        "imported": request.identity(),
        "encoder": spec.identity(),
        "fields": [[each.name, each.axes, each.dtype] for each in fields],
    }
    rows = request.rows_per_shard(sample)
    return EncodingRecord(
        write_id="",
        column=request.column,
        fingerprint=fingerprint(identity),
        identity=identity,
        spec={**json.loads(canonical_json(spec)), "source": f"imported:{request.layout}"},
        fields=fields,
        normalizer=_normalizer(request, published),
        policy={"mean": "mode"}.get(request.stored_kind, request.stored_kind),
        transform={"imported": request.layout},
        rows_per_unit=rows,
        batch=BatchRule(pixels=1, max=1),
        threads=1,
        device_type="cpu",
        probe={},
    ).with_write_id_of_content()


def _fields(request: ImportRequest, sample: ForeignSample) -> list[Field]:
    told: dict[str, Any] = {
        "axes": "CTHW" if len(sample.shape) == 4 else "CHW",
        "channels": num_channels(request, sample),
        "dtype": _DTYPES[sample.dtype],
    }
    kind = request.stored_kind
    if kind == "sample":
        return [Field(name="sample", kind="sample", **told)]
    if request.spec.posterior == "point":
        return [Field(name="z", kind="point", **told)]
    mean = Field(name="mean", kind="mean", **told)
    return [mean] if kind == "mean" else [mean, Field(name="logvar", kind="logvar", **told)]


def _normalizer(request: ImportRequest, published: dict[str, Any] | None) -> dict[str, Any] | None:
    if request.space == "scaled":
        return {"ops": [], "source": f"{request.layout} has scaled them"}
    if published is not None:
        return published
    return None if request.spec.normalizer is None else asdict(request.spec.normalizer)


def checked_values(
    record: EncodingRecord, request: ImportRequest, statistics: Mapping[str, Any]
) -> Sequence[str]:
    """Return what some values say about the space they are in.

    Args:
        record: The encoding.
        request: What was said.
        statistics: Arrays over some samples.

    Raises:
        ConfigError: They look as if they were in the other space, and are to be checked.
    """
    found = ColumnStatistics.from_arrays(statistics)
    if found.primary is None:
        return ()
    moments: Moments = found.primary.pooled.moments
    std = math.sqrt(float((moments.std**2).mean()))
    ops = (record.normalizer or {}).get("ops", ())
    if request.space == "scaled":
        wrong = "" if fits_published(std) else "raw"
        known = f"their standard deviation is {std:.3g}, of scaled ones it is about 1"
    else:
        wrong = "scaled" if ops and published_misfit(found, ops, column=record.column) else ""
        known = f"their standard deviation is {std:.3g}" + (
            ", and the published figures fit" if ops else "; nothing is published to compare with"
        )
    if wrong and request.is_checked:
        raise ConfigError(
            f"values must be {request.space} as was said, got a standard deviation of {std:.3g} "
            f"over some samples, which is not; say --values {wrong} if they are, name the right "
            "encoder, or --unchecked if this is right"
        )
    return (known,)
