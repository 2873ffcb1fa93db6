"""Planned samples: where a stored latent came from, and the pixels its encoder saw."""

import difflib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from latentcache.core.errors import MediaError, ShardCorruptError, StoreError
from latentcache.core.inputs import encoded_bucket, frame_numbers, parse_input
from latentcache.core.media import Bucket, Geometry, SourceRef, sample_key
from latentcache.core.placements import Placement
from latentcache.core.seeds import keyed_uint64
from latentcache.decode import (
    ClipRequest,
    ImageLimits,
    MediaTransform,
    VideoTransform,
    decode_clip,
    decode_image,
    derive,
)
from latentcache.evaluate.role_media import role_medium, role_texts
from latentcache.plan import open_source
from latentcache.storage import Folder
from latentcache.store import ColumnView, EncodingRecord, UnitEntry
from latentcache.store.rows import (
    find_clip,
    find_file,
    find_key,
    first_paths,
    read_rows,
)
from latentcache.store.snapshots import PlanView
from latentcache.store.units import read_unit_meta

_MOST_NEAR = 2000
"""Files that a misspelt name is held against: a second of comparing at most."""

logger = logging.getLogger(__name__)

_KEY_DIGITS = 20
_GEOMETRY = tuple(field.name for field in fields(Geometry))
_CLIP = ("start_s", "frame_rate_fps")
_PLACEMENT = ("resolution_px", "crop_index")
_COLUMNS = (
    *("key", "row", "path", "member", "offset_bytes", "size_bytes"),
    *(*_GEOMETRY, *_CLIP, *_PLACEMENT),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSample:
    """One encoded sample with everything that is known of its source.

    Attributes:
        key: 20 hex digits.
        unit: That holds it.
        row: In the shard.
        corpus_url: Root of the source's path.
        source: Where its bytes are.
        geometry: How the source becomes the bucket.
        source_digest: Of the bytes that were encoded.
        start_s: Of a clip, from its video's first frame; None for a picture.
        frame_rate_fps: Of a clip; None for a picture.
        role: Where the medium of the column's role lies, as the plan says it; "" for the
            sample's own medium.
        placement: Which of the sample's rows it is, in a plan that gives it several; else None.
    """

    key: str
    unit: UnitEntry
    row: int
    corpus_url: str
    source: SourceRef
    geometry: Geometry
    source_digest: bytes
    start_s: float | None = None
    frame_rate_fps: float | None = None
    role: str = ""
    placement: Placement | None = None

    @property
    def bucket(self) -> Bucket:
        """Pixel shape."""
        return self.unit.unit.bucket


def choose_samples(column: ColumnView, num_samples: int, *, seed: int = 0) -> list[PlannedSample]:
    """Return up to ``num_samples`` distinct live samples, drawn by keyed hash, in plan order.

    The draw depends on the snapshot and ``seed`` alone, and reads only the units drawn.
    """
    entries = [entry for entry in column.units() if entry.num_present]
    total, num_drawn = sum(entry.num_present for entry in entries), num_samples
    plan = plan_of(column)
    while True:
        drawn = _samples_at(column, entries, _draw(total, num_drawn, seed=seed))
        live = [each for each in drawn if each.row not in plan.retired_rows(each.unit.unit)]
        if len(live) >= num_samples or num_drawn >= total:
            return live
        num_drawn += num_samples - len(live)


def _samples_at(
    column: ColumnView, entries: Sequence[UnitEntry], numbers: Sequence[int]
) -> list[PlannedSample]:
    """Return the samples of some numbers among all that are stored, ascending."""
    starts = np.cumsum([0, *(entry.num_present for entry in entries)])
    drawn = np.array(numbers, dtype=np.int64)
    homes = np.searchsorted(starts, drawn, side="right") - 1
    samples: list[PlannedSample] = []
    for home in np.unique(homes).tolist():
        slots = drawn[homes == home] - starts[home]
        samples += samples_of(column, entries[home], slots.tolist())
    return samples


def plan_of(column: ColumnView) -> PlanView:
    """Return the plan that a column covers."""
    return PlanView.read(column.folder, [*column.generations.values()])


def _draw(total: int, wanted: int, *, seed: int) -> list[int]:
    if wanted >= total:
        return list(range(total))
    chosen: set[int] = set()
    attempt = 0
    while len(chosen) < wanted:
        chosen.add(keyed_uint64(seed, "evaluate", attempt) % total)
        attempt += 1
    return sorted(chosen)


def samples_of(column: ColumnView, entry: UnitEntry, slots: Sequence[int]) -> list[PlannedSample]:
    """Return the samples in some slots of a unit."""
    meta = read_unit_meta(column.folder, entry)
    rows = meta.rows_present[list(slots)].tolist()
    generation = column.generations[entry.unit.generation]
    table = read_rows(column.folder, generation, entry.unit, _COLUMNS)
    planned = table.take([row - entry.unit.first_row for row in rows]).to_pylist()
    roles = role_texts(column, generation, entry.unit.unit.shard, rows)
    return [
        PlannedSample(
            key=each["key"],
            unit=entry,
            row=each["row"],
            corpus_url=column.generations[max(column.generations)].corpus_url,
            source=SourceRef(
                path=each["path"],
                member=each["member"],
                offset_bytes=each["offset_bytes"],
                size_bytes=each["size_bytes"],
            ),
            geometry=Geometry(**{name: each[name] for name in _GEOMETRY}),
            source_digest=meta.source_digest[each["row"] - entry.unit.first_row].tobytes(),
            start_s=each["start_s"],
            frame_rate_fps=each["frame_rate_fps"],
            role=role,
            placement=_placement(each) if generation.num_placements > 1 else None,
        )
        for each, role in zip(planned, roles, strict=True)
    ]


def _placement(planned: dict[str, Any]) -> Placement:
    return Placement(
        resolution_px=planned["resolution_px"],
        crop_index=planned["crop_index"],
        is_flipped=planned["is_flipped"],
    )


def find_sample(column: ColumnView, text: str) -> PlannedSample:
    """Return the encoded sample that a user names.

    Args:
        column: Where to look.
        text: A key, or the source as ``status`` shows it: ``path`` or ``path!member``, or its file
            name alone, or where the file lies; of a video the first clip is meant, of several
            placements the first.

    Raises:
        StoreError: There is none, it is in quarantine (says why) or retired, or several have that
            name.
    """
    generations = [column.generations[number] for number in sorted(column.generations)]
    key = text
    if len(text) != _KEY_DIGITS or not set(text) <= set("0123456789abcdef"):
        path, _, member = text.partition("!")
        source = SourceRef(path=path, member=member)
        key = find_clip(column.folder, generations, source) or sample_key(source)
    position = find_key(column.folder, generations, key)
    if position is None and key != text and (named := _key_of_file(column, text)):
        key = named
        position = find_key(column.folder, generations, key)
    if position is None:
        raise StoreError(_why_absent(column, key, text))
    for entry in column.units():
        unit = entry.unit
        first, is_shard = unit.first_row, unit.unit.shard == position.shard
        if is_shard and first <= position.row < first + unit.num_rows:
            meta = read_unit_meta(column.folder, entry)
            slot = meta.slot_of(position.row)
            if slot is None:
                raise StoreError(_why_absent(column, key, text))
            if position.row in plan_of(column).retired_rows(unit):
                raise StoreError(
                    f"sample must be live, got {text!r}, which was retired; an older snapshot may "
                    "still serve it (--snapshot N)"
                )
            return samples_of(column, entry, [slot])[0]
    raise StoreError(
        f"sample must be encoded, got {text!r} which is missing from column {column.name}; "
        "run latentcache build again"
    )


def _key_of_file(column: ColumnView, text: str) -> str | None:
    """Return the key of the one sample whose file has the name ``text``, or lies at ``text``."""
    generations = [column.generations[number] for number in sorted(column.generations)]
    name = text.replace("\\", "/").rstrip("/").rpartition("/")[2]
    found = find_file(column.folder, generations, name)
    ended = [each for each in found if text.endswith(f"/{each[0].path}")]
    found = ended or ([] if "/" in text else found)
    if len(found) > 1:
        shown = ", ".join(source.label for source, _ in found[:3])
        raise StoreError(
            f"file name must be that of one sample, got {text!r} of {len(found)} or more "
            f"({shown}); give the path in the corpus"
        )
    return found[0][1] if found else None


def _why_absent(column: ColumnView, key: str, text: str) -> str:
    for row in column.quarantine().to_pylist():
        if row["key"] == key:
            source = SourceRef(path=row["path"], member=row["member"]).label
            return (
                f"sample must be encoded, got {source} in quarantine ({row['stage']}: "
                f"{row['reason']}); latentcache status --quarantined lists all of them"
            )
    return (
        f"key must be one of the plan's, or a file of the corpus by name or path, got {text!r} "
        f"({column.folder.label}); {_near(column, text)}"
    )


def _near(column: ColumnView, text: str) -> str:
    """Return the file of the corpus that ``text`` may mean, or else one as an example."""
    generations = [column.generations[number] for number in sorted(column.generations)]
    paths = first_paths(column.folder, generations, most=_MOST_NEAR)
    if not paths:
        return "the plan has no samples"
    by_name = {path.rpartition("/")[2]: path for path in paths}
    name = text.rpartition("/")[2]
    if near := difflib.get_close_matches(name, by_name, n=1, cutoff=0.6):
        return f"did you mean {by_name[near[0]]!r}?"
    return f"for instance {paths[0]!r}"


def read_pixels(
    sample: PlannedSample,
    record: EncodingRecord,
    *,
    corpus_url: str | None = None,
    num_frames: int | None = None,
) -> npt.NDArray[np.uint8]:
    """Return what the encoder saw of ``sample``: uint8 (H, W, 3), of clips (T, H, W, 3).

    Args:
        sample: One image or clip.
        record: The encoding, whose transform made the pixels.
        corpus_url: Where the corpus lies now, if it has moved.
        num_frames: Of a clip, from its first on; None reads all.

    Raises:
        MediaError: The source cannot be read or decoded, or its bytes are others now.
        StoreError: The encoding's transform is of another version.
    """
    transform = recorded_transform(record.transform)
    root = Folder.open(corpus_url or sample.corpus_url)
    planned = sample.bucket
    if transform.role is not None:
        medium = role_medium(
            root, sample.role, transform.role, target=sample.geometry, bucket=planned
        )
        planned = medium.bucket
        sample = replace(
            sample,
            source=medium.source,
            geometry=medium.geometry,
            start_s=sample.start_s if medium.is_video else None,
        )
    bucket = encoded_bucket(planned, transform.input)
    if num_frames is not None:
        bucket = replace(bucket, num_frames=min(num_frames, bucket.num_frames))
    numbers = frame_numbers(planned, transform.input)
    if bucket.num_frames > 1:  # of a clip that is cut, the last frame is not looked at
        numbers = tuple(each for each in numbers if each < bucket.num_frames)
    has_all = parse_input(transform.input).frames == "pixels"
    num_decoded = bucket.num_frames if has_all else len(numbers) or 1
    with open_source(root, sample.source) as (file, size_bytes, digest):
        if any(sample.source_digest) and digest != sample.source_digest:
            raise MediaError("changed", "its bytes are not the ones that were encoded")
        request = ClipRequest.of_sample(
            replace(bucket, num_frames=num_decoded),
            sample.geometry,
            start_s=sample.start_s,
            frame_rate_fps=sample.frame_rate_fps,
            numbers=numbers,
        )
        if request is None:
            # It was decoded under the limit of its run; asking again is no reason to refuse.
            limits = ImageLimits(max_pixels=2**40)
            data, geometry = file.read(), sample.geometry
            pixels = decode_image(
                data,
                bucket,
                geometry,
                transform=transform.image,
                limits=limits,
                reading=transform.reading,
            )
            derive(pixels[None], transform.input)
            return pixels
        video = transform.video or VideoTransform()
        clip = decode_clip(file, request, size_bytes=size_bytes, transform=video)
        derive(clip, transform.input)
    pixels = _with_zeros(clip, bucket.num_frames, record)
    return pixels if len(pixels) > 1 else pixels[0]


def _with_zeros(
    clip_THWC: npt.NDArray[np.uint8], num_frames: int, record: EncodingRecord
) -> npt.NDArray[np.uint8]:
    """Return a clip with what the encoder saw as zeros after its first frame."""
    low, high = record.identity["encoder"]["input_range"]
    zero = round(255 * -low / (high - low))
    zeros = np.full((num_frames - len(clip_THWC), *clip_THWC.shape[1:]), zero, np.uint8)
    return np.concatenate([clip_THWC[:1], zeros, clip_THWC[1:]])


def recorded_transform(recorded: dict[str, Any]) -> MediaTransform:
    """Return the transform that an encoding was made with.

    Raises:
        StoreError: This version has other rules.
    """
    try:
        transform = MediaTransform.from_identity(recorded)
        transform.check_libraries()
    except StoreError as error:
        # Some levels of 255 matter to a cache, not to who looks at it.
        _warn_once(f"originals are decoded a little differently here: {error}")
    except ValueError as error:
        raise StoreError(
            f"transform must be one that this version knows, got {recorded} ({error}); "
            "use the release that wrote the store"
        ) from None
    return transform


@lru_cache(maxsize=8)
def _warn_once(sentence: str) -> None:
    logger.warning(sentence)


def read_stored(column: ColumnView, sample: PlannedSample) -> dict[str, Any]:
    """Return the stored fields of ``sample``.

    Raises:
        ShardCorruptError: The tar holds another sample, or other bytes, than the plan says.
    """
    stored = column.read_row(sample.unit.unit.unit.shard, sample.row)
    if stored.key != sample.key:
        raise ShardCorruptError(
            f"key of row {sample.row} must be {sample.key}, got {stored.key} "
            f"({sample.unit.unit.unit}); run latentcache verify --repair"
        )
    return dict(stored.fields)
