"""Plan options: what a user decides about buckets, crops and shards, before any file is opened."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from latentcache.core.errors import ConfigError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.frames import FrameRule
from latentcache.core.media import LONG_CLIP_BYTES, Bucket
from latentcache.core.placements import CROP_FRACTIONS, Placement
from latentcache.core.roles import checked_role
from latentcache.plan.clips import WHOLE, ClipRules

SHARD_PIXEL_BYTES = 512 * 2**20
"""A shard of automatic size holds about this much 8-bit RGB: minutes of work for one GPU,
and a tar of a few to a few hundred MiB for the usual 8x to 32x encoders."""

MIN_SHARD_ROWS, MAX_SHARD_ROWS = 16, 8192
WHOLE_FRAMES = "8k+1"
"""What whole clips have unless told: legal for nearly every VAE, so that a swap keeps the plan."""

HORIZONTAL = "horizontal"
_OF_CLIPS = ("frames", "fps", "clips", "skip_still")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """How a corpus becomes buckets, crops, shards and rows. All sizes in pixels."""

    KEYS: ClassVar[Mapping[str, str]] = {
        "resolution_px": "resolution",
        "step_px": "step",
        "roles": "role",
    }

    resolution_px: int | tuple[int, ...] = 512
    """Pixel budget: a bucket holds at most ``resolution ** 2`` pixels. Of several, each sample has
    a row at each that it is large enough for: ``[512, 1024]``."""
    crops: int = 1
    """Crops of each sample, from 1 to 9: the centre, both ends of what the bucket leaves over, then
    between. One that would lie within 8 px of another is left out."""
    flip: str = ""
    """``horizontal`` gives each crop a mirrored one beside it, encoded like any other row."""
    square: bool = False
    """One square bucket, everything cropped to it."""
    step_px: int = 0
    """Bucket sides are multiples of this; 0 chooses 64, or 32 below 512: legal for nearly every
    VAE with its patching, so that swapping the encoder keeps the plan."""
    max_aspect: float = 2.0
    """Longest side over shortest side of a bucket."""
    min_bucket: int = 1
    """A bucket with fewer samples is merged into the nearest one by aspect; 1 merges none, so
    that the bucket of a picture does not depend on the other pictures."""
    max_upscale: float = 2.0
    """Largest enlargement. At 2 a quarter of the bucket's pixels are real; beyond it a model
    would learn the resize filter more than the photo. 1 refuses every enlargement."""
    max_crop: float = 0.5
    """Largest share of the resized picture that the centre crop may cut away."""
    rows_per_shard: int = 0
    """Rows of a full shard; 0 chooses the power of two with about 512 MiB of RGB pixels."""
    frames: tuple[int, ...] | str = ()
    """Frame counts that clips of videos may have, the largest that fits is taken: 17, or
    17,33,81; for whole clips also a rule: 8k+1, 4k+1, 1k. Empty plans pictures only, with
    whole clips 8k+1. Encoders have rules: 4k+1, 8k+1; 8k+1 fits most."""
    fps: float = 0.0
    """Frames per second of all clips; 0 keeps each video's own rate."""
    clips: str = "first"
    """Which clips of a video: ``first``; ``uniform:N``, N spread evenly; ``sliding:S``, one
    every S seconds; ``whole``, all of it as one clip."""
    skip_still: bool = False
    """Leave out clips that show one picture for three frames or more in a row: pauses, and rates
    far above the video's own."""
    seed: int = 0
    """Keys the hash that places samples in shards."""
    include: str = ""
    """Glob over paths relative to the corpus root, e.g. ``train/*.tar``; empty takes all."""
    any_extension: bool = False
    """List files of a folder corpus whatever their extension."""
    path_column: str = ""
    """Manifest column with the path or the bytes, of tars the field (``input.jpg``); empty looks
    for the usual names."""
    caption_column: str = ""
    """Column or field that becomes ``caption``; empty looks for the usual names."""
    label_column: str = ""
    """Column or field that becomes ``label``; empty looks for the usual names."""
    roles: tuple[str, ...] = ()
    """Further media of each sample, ``NAME=SOURCE``: a column of a manifest, a folder of equal
    stems or ``*_NAME`` beside the pictures, a member of tars' samples; see docs/inputs.md."""
    limit: int = 0
    """List so many samples at most, the first of the listing; 0 lists all."""

    def __post_init__(self) -> None:
        self._check_placements()
        _at_least("step", self.step_px, 0)
        _at_least("min_bucket", self.min_bucket, 1)
        _at_least("rows_per_shard", self.rows_per_shard, 0)
        _at_least("limit", self.limit, 0)
        _at_least("max_aspect", self.max_aspect, 1.0)
        _at_least("max_upscale", self.max_upscale, 1.0)
        if not 0.0 <= self.max_crop < 1.0:
            raise ConfigError(
                f"max_crop must be at least 0 and below 1, got {self.max_crop} (plan options); "
                "0.5 lets half of a picture be cut away"
            )
        if self.rows_per_shard & (self.rows_per_shard - 1):
            near = 1 << (self.rows_per_shard.bit_length() - 1)
            raise ConfigError(
                f"rows_per_shard must be a power of two, got {self.rows_per_shard} "
                f"(plan options); use {near} or {2 * near}"
            )
        _ = self.clip_rules  # checks itself
        names = Counter(text.partition("=")[0] for text in self.roles)
        for name, count in names.items():
            _check_role(name, count)
        for resolution_px in self.resolutions_px:
            step_px = self.step_of(resolution_px)
            if resolution_px % step_px:
                below = resolution_px // step_px * step_px
                raise ConfigError(
                    f"resolution must be a multiple of step = {step_px}, "
                    f"got {resolution_px} (plan options); "
                    f"use {below or step_px} or give step"
                )

    def _check_placements(self) -> None:
        if not self.resolutions_px:
            raise ConfigError(
                "resolution must be one number or several, got none (plan options); give 512"
            )
        for resolution_px, count in Counter(self.resolutions_px).items():
            _at_least("resolution", resolution_px, 16)
            if count > 1:
                raise ConfigError(
                    f"resolutions must differ, got {resolution_px} {count} times (plan options); "
                    f"give it once"
                )
        if not 1 <= self.crops <= len(CROP_FRACTIONS):
            raise ConfigError(
                f"crops must be from 1 to {len(CROP_FRACTIONS)}, got {self.crops} (plan options); "
                "1 is the centre alone, 3 also both ends"
            )
        if self.flip not in ("", HORIZONTAL):
            raise ConfigError(
                f"flip must be {HORIZONTAL} or nothing, got {self.flip!r} (plan options); pictures "
                "upside down are another subject, make such files yourself if you want them"
            )

    @property
    def resolutions_px(self) -> tuple[int, ...]:
        """All resolutions; the keys of the first one's centre crops are those of the samples."""
        given = self.resolution_px
        return given if isinstance(given, tuple) else (given,)

    @property
    def placements(self) -> tuple[Placement, ...]:
        """The rows that a sample may have, in the order in which they lie beside each other."""
        return tuple(
            Placement(resolution_px=resolution_px, crop_index=crop, is_flipped=is_flipped)
            for resolution_px in self.resolutions_px
            for crop in range(self.crops)
            for is_flipped in ((False, True) if self.flip else (False,))
        )

    @property
    def has_placements(self) -> bool:
        """Whether a sample may have several rows."""
        return len(self.placements) > 1

    @property
    def clip_rules(self) -> ClipRules | None:
        """How videos are cut; None where the plan is of pictures only."""
        told = self.resolved_frames
        if not told:
            if self.fps or self.clips != "first" or self.skip_still:
                raise ConfigError(
                    f"frames must be given where fps, clips or skip_still are, got fps "
                    f"{self.fps:g}, clips {self.clips!r} and skip_still {self.skip_still} alone "
                    f"(plan options); give for instance frames 17, or clips {WHOLE}"
                )
            return None
        frames = _frame_rule(told) if isinstance(told, str) else told
        return ClipRules(frames=frames, frame_rate_fps=self.fps, policy=self.clips)

    @property
    def resolved_frames(self) -> tuple[int, ...] | str:
        """The frame counts or the rule in use; empty where the plan is of pictures only."""
        return self.frames or (WHOLE_FRAMES if self.clips == WHOLE else ())

    @property
    def resolved_step_px(self) -> int:
        """The step in use, at the first resolution."""
        return self.step_of(self.resolutions_px[0])

    def step_of(self, resolution_px: int) -> int:
        """Return the step at a resolution."""
        return self.step_px or automatic_step(resolution_px)

    def shard_rows(self, bucket: Bucket) -> int:
        """Return the rows of a full shard of ``bucket``, from geometry and options alone.

        A long clip has a shard of its own: what ends its encoding costs no other.
        """
        is_clip = bucket.num_frames > 1
        if is_clip and (self.clips == WHOLE or bucket.rgb_bytes > LONG_CLIP_BYTES):
            return 1
        if self.rows_per_shard:
            return self.rows_per_shard
        fitting = max(1, SHARD_PIXEL_BYTES // bucket.rgb_bytes)
        return min(MAX_SHARD_ROWS, max(MIN_SHARD_ROWS, 1 << (fitting.bit_length() - 1)))

    def as_dict(self) -> dict[str, Any]:
        """Return every option with automatic ones resolved, as the plan records it."""
        frames = self.resolved_frames
        told = frames if isinstance(frames, str) else list(frames)
        plain = {**asdict(self), "frames": told}
        if len(self.resolutions_px) == 1:
            plain["resolution_px"], plain["step_px"] = self.resolutions_px[0], self.resolved_step_px
        else:  # each has a step of its own where none is given
            plain["resolution_px"] = list(self.resolutions_px)
        if self.crops == 1:  # plans with one placement read as before there were several
            del plain["crops"]
        if not self.flip:
            del plain["flip"]
        if not frames:  # plans of pictures read as before there were clips
            plain = {name: plain[name] for name in plain if name not in _OF_CLIPS}
        elif not self.skip_still:  # likewise, before there was this choice
            del plain["skip_still"]
        if not self.limit:  # and as before there was a limit
            del plain["limit"]
        plain["roles"] = sorted(self.roles)
        if not self.roles:
            del plain["roles"]
        return plain

    def digest(self) -> str:
        """Return the fingerprint of all options: two plans with one digest follow one rule."""
        return fingerprint(self.as_dict())


def automatic_step(resolution_px: int) -> int:
    """Return the step at a resolution where none is given."""
    return 64 if resolution_px >= 512 else 32


def _check_role(name: str, count: int) -> None:
    try:
        checked_role(name)
    except ValueError as error:
        raise ConfigError(f"{error} (plan options)") from None
    if count > 1:
        raise ConfigError(
            f"roles must have different names, got {name} {count} times (plan options); call "
            f"several of one kind {name}.0, {name}.1"
        )


def _frame_rule(text: str) -> FrameRule:
    try:
        return FrameRule.parse(text)
    except ValueError as error:
        raise ConfigError(f"{error} (plan options)") from None


def _at_least(name: str, value: float, smallest: float) -> None:
    if not value >= smallest:
        raise ConfigError(
            f"{name} must be at least {smallest}, got {value} (plan options); choose a larger one"
        )
