"""What a run may be told: one frozen config for every way of starting it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from latentcache.core.errors import ConfigError
from latentcache.core.fields import dtype_name
from latentcache.core.inputs import ALL_PIXELS, canonical_input, parse_input
from latentcache.core.metrics_target import MetricsTarget
from latentcache.core.roles import Absent, RoleGeometry, RoleRule, default_geometry
from latentcache.decode import ImageTransform, MediaTransform, VideoTransform
from latentcache.encoders import named_encoder

Policy = Literal["moments", "mode", "sample"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodeOptions:
    """What is asked of the encoder; everything here can change a stored value.

    Attributes:
        encoder: As on the command line: ``dct``, ``sdxl:HUB_ID``, ``module:Class``, a folder alone.
        policy: What is stored of a posterior.
        dtype: Compute dtype, or ``auto`` for the encoder's own choice on its device.
        storage_dtype: Dtype of stored float fields, or ``auto``.
        batch_size: Samples per encoder call for every bucket, or 0 to choose by pixels.
        background: RGB under transparent pixels.
        hdr: What becomes of HDR pictures and clips: ``tone_map`` to sRGB, or ``refuse``.
        input: What of each sample is encoded: ``pixels``, ``last_frame``, ``role:control``,
            ``text:caption`` ...; see ``core.inputs``.
        role_geometry: Of a role's media: ``as_target`` or ``own``; "" for what its name suggests.
        role_resolution: Pixel budget of ``own``: at most its square.
        absent: Whether samples without a medium of the role count towards ``max_quarantine``:
            ``count`` them or ``allow`` them.
        seed: Keys the draws of ``posterior = "sample"``.
        is_offline: Never ask a model hub.
    """

    KEYS: ClassVar[Mapping[str, str]] = {"policy": "posterior", "is_offline": "offline"}

    encoder: str = "dct"
    policy: Policy = "moments"
    dtype: str = "auto"
    storage_dtype: str = "auto"
    batch_size: int = 0
    background: tuple[int, ...] = (255, 255, 255)
    hdr: Literal["tone_map", "refuse"] = "tone_map"
    input: str = ALL_PIXELS
    role_geometry: Literal["", "as_target", "own"] = ""
    role_resolution: int = 512
    absent: Absent = "count"
    seed: int = 0
    is_offline: bool = False

    def __post_init__(self) -> None:
        for name in ("dtype", "storage_dtype"):
            object.__setattr__(self, name, dtype_name(getattr(self, name)))
        if self.policy not in ("moments", "mode", "sample"):
            raise ConfigError(f"posterior must be moments, mode or sample, got {self.policy!r}")
        if not 0 <= self.batch_size <= 4096 or self.batch_size & (self.batch_size - 1):
            raise ConfigError(
                f"batch_size must be a power of two up to 4096, got {self.batch_size}; "
                "0 chooses by pixels"
            )
        if len(self.background) != 3 or not all(0 <= value <= 255 for value in self.background):
            raise ConfigError(f"background must be three values 0 to 255, got {self.background}")
        try:
            object.__setattr__(self, "input", canonical_input(self.input))
        except ValueError as error:
            raise ConfigError(str(error)) from None
        if self.hdr not in ("tone_map", "refuse"):
            raise ConfigError(f"hdr must be tone_map or refuse, got {self.hdr!r}")
        if self.absent not in get_args(Absent):
            raise ConfigError(f"absent must be count or allow, got {self.absent!r}")
        if not parse_input(self.input).role and (self.role_geometry or self.absent != "count"):
            raise ConfigError(
                f"role_geometry and absent must go with an input of a role, got {self.input}; give "
                "for instance --input role:control"
            )
        if self.role_geometry not in ("", *get_args(RoleGeometry)):
            raise ConfigError(f"role_geometry must be as_target or own, got {self.role_geometry!r}")
        if self.role_resolution < 32 or self.role_resolution % 32:
            raise ConfigError(
                f"role_resolution must be a multiple of 32 px, got {self.role_resolution}; use "
                f"{max(32, self.role_resolution // 32 * 32)}"
            )

    def role_rule(self) -> RoleRule | None:
        """Return how the media of the input's role are cut; None where it has none."""
        role = parse_input(self.input).role
        if not role:
            return None
        geometry = self.role_geometry or default_geometry(role)
        resolution_px = self.role_resolution if geometry == "own" else 0
        return RoleRule(geometry=geometry, resolution_px=resolution_px)

    def transform(
        self,
        *,
        takes_clips: bool,
        libraries: Mapping[str, str] | None = None,
        clip_libraries: Mapping[str, str] | None = None,
    ) -> MediaTransform:
        """Return how pixels are made for an encoder that takes clips, or one that does not.

        The first frame of a clip can be had by either.

        Args:
            takes_clips: Whether the encoder does.
            libraries: What they make of pictures, where it is known; else they are asked,
                which loads torch.
            clip_libraries: The same of clips.
        """
        takes_clips |= self.input != ALL_PIXELS
        rules: dict[str, Any] = {"background": self.background, "hdr": self.hdr}
        return MediaTransform(
            image=ImageTransform(**rules, libraries=libraries),
            video=VideoTransform(**rules, libraries=clip_libraries) if takes_clips else None,
            input=self.input,
            role=self.role_rule(),
        )

    def with_name(self, tell: Callable[[str], None]) -> "EncodeOptions":
        """Return the same with the encoder by name, where a folder or hub id stands alone.

        Args:
            tell: Is told what was assumed.

        Raises:
            LatentCacheError: There is nothing, or no autoencoder that is known.
        """
        named = named_encoder(self.encoder, is_offline=self.is_offline)
        if named.said:
            tell(named.said)
        return self if named.text == self.encoder else replace(self, encoder=named.text)

    def for_workers(self) -> "EncodeOptions":
        """Return the same with a local path made absolute: workers have another folder."""
        name, _, argument = self.encoder.partition(":")
        location, mark, knobs = argument.partition("?")
        if Path(argument).exists():  # a folder may have a question mark in its name
            location, mark, knobs = argument, "", ""
        if not location or not Path(location).exists():
            return self
        knobs = ",".join(_absolute_config(knob) for knob in knobs.split(","))
        return replace(self, encoder=f"{name}:{Path(location).resolve()}{mark}{knobs}")


def _absolute_config(knob: str) -> str:
    key, _, value = knob.partition("=")
    return f"config={Path(value).resolve()}" if key == "config" and Path(value).exists() else knob


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Where a run happens and how much it may take; nothing here changes a stored value
    except ``device`` and ``threads``, which are pinned in the encoding's record.

    Attributes:
        address: ``local`` starts Ray by itself; ``auto`` or ``host:port`` joins a cluster.
        device: ``auto``, ``cpu`` or ``cuda``.
        num_actors: Encode actors; 0 means one per GPU, or cores / threads on a CPU.
        threads: Torch threads per encode actor on a CPU.
        units_in_flight: Units per actor; the second hides the decode of the first.
        time_limit_s: Per sample, decode.
        batch_time_limit_s: Per encoder call; an actor that takes longer is ended and its
            batch tried again, at last sample by sample.
        max_quarantine: Largest share of rejected samples, judged after 200.
        max_image_pixels: Larger images are refused as decompression bombs.
        scratch: Folder for tars on their way to a remote store; empty for the system's.
        keep_every_s: Encoded samples of open units are kept at least so often: a kill costs no
            more of each encoder's work, and the batches in flight.
        keep: Where: ``local`` is the store where that is a folder and else ``scratch``;
            ``store`` is the store in any case, for machines that may be taken away.
        codebook_mib: Tables of codebooks up to this are kept beside the indices that name their
            vectors; 0 keeps none, for weights whose licence says no.
        metrics: Where Prometheus finds the run's figures: ``PORT`` of this machine, ``HOST:PORT``,
            or ``FILE.prom`` for node_exporter; empty for nowhere.
        without_ray: Local runs on CPUs of up to this many samples do without Ray, whose start
            would be most of them; 0 for never.
    """

    KEYS: ClassVar[Mapping[str, str]] = {
        "num_actors": "actors",
        "time_limit_s": "time_limit",
        "batch_time_limit_s": "batch_time_limit",
    }

    address: str = "local"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    num_actors: int = 0
    threads: int = 1
    units_in_flight: int = 2
    time_limit_s: float = 30.0
    batch_time_limit_s: float = 600.0
    max_quarantine: float = 0.05
    max_image_pixels: int = 178_956_970
    scratch: str = ""
    keep_every_s: float = 30.0
    keep: Literal["local", "store"] = "local"
    codebook_mib: int = 64
    metrics: str = ""
    without_ray: int = 2000

    def __post_init__(self) -> None:
        if self.address.startswith(("http://", "https://")):
            raise ConfigError(
                "address must be local, auto or HOST:PORT of a Ray head (port 6379 unless told "
                f"otherwise), got {self.address!r}, the address of a dashboard; name the head, or "
                f"submit the run: ray job submit --address {self.address} -- python jobs/build.py "
                "RECIPE"
            )
        object.__setattr__(self, "metrics", str(self.metrics))  # 9400 is a number in TOML
        MetricsTarget.parse(self.metrics)
        if not 0.0 <= self.max_quarantine <= 1.0:
            raise ConfigError(f"max_quarantine must be 0 to 1, got {self.max_quarantine}")
        if self.codebook_mib < 0:
            raise ConfigError(f"codebook_mib must be 0 or more, got {self.codebook_mib}")
        if self.keep_every_s < 0 or self.keep not in ("local", "store"):
            raise ConfigError(
                "keep_every_s must be 0 or more seconds and keep local or store, got "
                f"{self.keep_every_s} and {self.keep!r}"
            )
        if self.time_limit_s <= 0 or self.batch_time_limit_s <= 0:
            raise ConfigError(
                "time_limit and batch_time_limit must be positive, got "
                f"{self.time_limit_s} and {self.batch_time_limit_s}"
            )
        if self.threads < 1 or self.num_actors < 0 or not 1 <= self.units_in_flight <= 8:
            raise ConfigError(
                "threads must be at least 1, actors at least 0 and units_in_flight 1 to 8, got "
                f"{self.threads}, {self.num_actors} and {self.units_in_flight}"
            )
