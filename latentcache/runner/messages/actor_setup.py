"""What driver and encode actors tell each other, as plain values; imports no torch and no Ray."""

from dataclasses import dataclass, field
from typing import Any

from latentcache.core.fields import Field
from latentcache.decode import ImageLimits
from latentcache.runner.messages.stage_times import ActorTimes
from latentcache.runner.run_options import EncodeOptions

MAX_UNIT_THREADS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSetup:
    """What an actor is given of one column.

    Attributes:
        column: Its name.
        encode: What is asked of its encoder.
        kept_url: Where encoded batches of its open units are kept.
    """

    column: str
    encode: EncodeOptions
    kept_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSetup:
    """All that an actor is given; small, because a large one could not be restarted (ray#53727).

    Attributes:
        store_url: Where units go.
        columns: What it encodes, in one pass over the pixels where there are several.
        device: ``cpu`` or ``cuda``.
        threads: Torch threads on a CPU.
        budget_bytes: Decoded pixels in flight.
        limits: Images beyond them are refused.
        time_limit_s: Per sample, decode.
        scratch: Folder for tars under way; "" for the system's.
        keep_every_s: How often encoded batches of open units are kept.
        storage_options: Of the driver's process; may be secret.
    """

    store_url: str
    columns: tuple[ColumnSetup, ...]
    device: str
    threads: int
    budget_bytes: int
    limits: ImageLimits
    time_limit_s: float
    scratch: str = ""
    keep_every_s: float = 30.0
    storage_options: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderDescription:
    """What the driver must know of a loaded encoder, as plain values.

    Attributes:
        identity: What the fingerprint covers.
        spec: All declarations, as JSON.
        fields: Stored fields.
        probe: For ``encoding.json``.
        bytes_per_pixel: Stored bytes per source pixel, from the probe.
        max_batch: The encoder's own limit, or None.
        pixels_per_batch: Chosen for this device.
        refusals: Per bucket that does not fit, why.
        device_name: For people.
        former_digests: What earlier releases took for ``weights_digest``.
        bytes_per_sample: Most that a sample stores, where pixels do not decide it; else None.
    """

    identity: dict[str, Any]
    spec: dict[str, Any]
    fields: tuple[Field, ...]
    normalizer: dict[str, Any] | None
    transform: dict[str, Any]
    probe: dict[str, Any]
    bytes_per_pixel: float
    max_batch: int | None
    pixels_per_batch: int
    refusals: dict[str, str]
    device_type: str
    device_name: str
    former_digests: tuple[str, ...] = ()
    bytes_per_sample: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorProgress:
    """Running totals of one actor since it started.

    Attributes:
        rows_worked: Rows that went through its encoder.
        rows_taken_up: Rows that were found encoded by somebody who was stopped.
        rows_kept: Of open units, what a kill would not cost.
        under_way: Of open units, what it would; of long clips the shares that are encoded.
        times: Where its time went.
    """

    rows_worked: int
    rows_taken_up: int
    rows_kept: int
    under_way: float
    source_bytes: int
    decode_busy_s: float
    tasks_pending: int
    budget_used_bytes: int
    batch_age_s: float
    times: ActorTimes = field(default_factory=ActorTimes)
