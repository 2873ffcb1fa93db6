"""Streams of one generation: one per bucket or part of it, or of windows for clips of one size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from latentcache.core.errors import ConfigError
from latentcache.core.frames import FrameRule
from latentcache.core.units import BucketRun
from latentcache.loader.index.column_units import ColumnUnits
from latentcache.loader.index.frame_times import num_latent_frames
from latentcache.loader.index.sample_layout import read_template
from latentcache.loader.streams.shape_parts import columns_to_part_by, parted
from latentcache.loader.streams.stream import SelectedRun, Stream, StreamPlace
from latentcache.loader.streams.stream_column import Access, StreamColumn, WindowRule
from latentcache.storage import map_ahead


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRule:
    """What makes a stream beside the bucket.

    Attributes:
        window_frames: Latent frames to take of each clip that has as many; 0 takes all.
        batch_by: Columns, or roles of columns, whose shapes part a bucket.
        is_one_pass: Every sample once.
    """

    window_frames: int = 0
    batch_by: tuple[str, ...] = ()
    is_one_pass: bool = False

    def __post_init__(self) -> None:
        if self.window_frames and self.batch_by:
            raise ConfigError(
                f"batch_by must be left away where windows of clips are taken, got "
                f"{', '.join(self.batch_by)} and window_frames={self.window_frames}; choose one"
            )


def make_streams(
    place: StreamPlace,
    runs: Sequence[SelectedRun],
    units: Mapping[str, ColumnUnits],
    access: Access,
    rule: StreamRule,
) -> Iterator[Stream]:
    """Yield the streams of one generation of one source.

    Args:
        place: Of the source: its name, number and generation.
        runs: Those with a selected row.
        units: Of each column; the one that is trained on is ``latents``, else the first.
        access: How tars are had.
        rule: What makes a stream beside the bucket.
    """
    window_frames = rule.window_frames
    parting = columns_to_part_by({name: each.view for name, each in units.items()}, rule.batch_by)
    main = units["latents"] if "latents" in units else next(iter(units.values()))
    lengths = [0] * len(runs)
    if window_frames:
        lengths = list(map_ahead(lambda one: _num_latents(main, one.run, window_frames), runs))
    groups: dict[str, list[SelectedRun]] = {}
    for one, length in zip(runs, lengths, strict=True):
        bucket = one.run.bucket
        if one.placed is not None:
            yield _stream(place, one.placed.label, [one], units, access)
            continue
        if parting:
            yield from _parts(place, one, units, access, parting)
            continue
        if not window_frames or length < window_frames:
            yield _stream(place, str(bucket), [one], units, access)
            continue
        label = f"{window_frames} latent frames of {bucket.height_px}x{bucket.width_px}"
        groups.setdefault(label, []).append(replace(one, num_latents=length))
    for label, clips in groups.items():
        yield _stream(place, label, clips, units, access, num_frames=window_frames)


def _parts(
    place: StreamPlace,
    one: SelectedRun,
    units: Mapping[str, ColumnUnits],
    access: Access,
    parting: Sequence[str],
) -> Iterator[Stream]:
    """Yield the streams of one bucket, one for each shape of the columns that part it."""
    columns = {name: StreamColumn(each, [one.run], access) for name, each in units.items()}
    varying = frozenset(name for name in parting if columns[name].is_varying)
    by = {name: columns[name] for name in parting}
    for part, selection in parted(one.selection, by, one.run.num_rows):
        named = f"{place.name}/{place.generation}/{one.run.bucket}, {part}"
        yield Stream(
            replace(place, name=named, part=part),
            [replace(one, selection=selection)],
            columns,
            one_shape=varying,
        )


def _stream(
    place: StreamPlace,
    label: str,
    runs: Sequence[SelectedRun],
    units: Mapping[str, ColumnUnits],
    access: Access,
    *,
    num_frames: int = 0,
) -> Stream:
    window = None
    if num_frames:
        window = WindowRule(num_frames=num_frames, num_latents=[one.num_latents for one in runs])
    shards = [one.run for one in runs]
    columns = {name: StreamColumn(each, shards, access, window) for name, each in units.items()}
    place = replace(place, name=f"{place.name}/{place.generation}/{label}")
    return Stream(place, runs, columns, num_frames=num_frames)


def _num_latents(units: ColumnUnits, run: BucketRun, window_frames: int) -> int:
    """Return how many latent frames the clips of a run have; 0 for images and what has none.

    Clips without a sample, of an encoder without a rule, are taken to have enough: others stand in
    for them, as wherever rows are lacking.
    """
    record = units.view.record
    if run.bucket.num_frames == 1 or "T" not in record.fields[0].axes:
        return 0
    rule = FrameRule.from_spec(record.spec)
    if rule is not None and rule.admits(run.bucket.num_frames):
        return rule.num_latent_frames(run.bucket.num_frames)
    sample_layout = read_template(units.view.folder, units.of_run(run).entries.values())
    return (
        window_frames if sample_layout is None else num_latent_frames(record, sample_layout.fields)
    )
