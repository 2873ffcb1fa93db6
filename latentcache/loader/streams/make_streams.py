"""Streams of one generation: one per bucket, or one of windows for all clips of one size."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from latentcache.core.frames import FrameRule
from latentcache.core.units import BucketRun
from latentcache.loader.index.frame_times import num_latent_frames
from latentcache.loader.index.sample_layout import read_template
from latentcache.loader.index.unit_index import ColumnUnits
from latentcache.loader.order.feistel import Indices
from latentcache.loader.select.selection import Selection
from latentcache.loader.streams.clip_window_column import WindowColumn, WindowRule
from latentcache.loader.streams.clip_window_stream import ClipRun, WindowStream
from latentcache.loader.streams.stream import Stream, StreamPlace
from latentcache.loader.streams.stream_column import Access, StreamColumn
from latentcache.storage import map_ahead


@dataclass(frozen=True, slots=True)
class SelectedRun:
    """A run of which a source selects rows.

    Attributes:
        run: The shards.
        first_place: Rows of the plan before it.
        selection: Of the source.
        retired: Places of rows that are live no more, ascending.
    """

    run: BucketRun
    first_place: int
    selection: Selection
    retired: Indices


def make_streams(
    place: StreamPlace,
    runs: Sequence[SelectedRun],
    units: Mapping[str, ColumnUnits],
    access: Access,
    *,
    window_frames: int,
) -> Iterator[Stream]:
    """Yield the streams of one generation of one source.

    Args:
        place: Of the source: its name, number and generation.
        runs: Those with a selected row.
        units: Of each column; the one that is trained on is ``latents``, else the first.
        access: How tars are had.
        window_frames: Latent frames to take of each clip that has as many; 0 takes all.
    """
    main = units["latents"] if "latents" in units else next(iter(units.values()))
    lengths = [0] * len(runs)
    if window_frames:
        lengths = list(map_ahead(lambda one: _num_latents(main, one.run, window_frames), runs))
    groups: dict[tuple[int, int], list[ClipRun]] = {}
    for one, length in zip(runs, lengths, strict=True):
        if not window_frames or length < window_frames:
            yield _of_run(place, one, units, access)
            continue
        size = (one.run.bucket.height_px, one.run.bucket.width_px)
        groups.setdefault(size, []).append(
            ClipRun(
                run=one.run,
                first_place=one.first_place,
                selection=one.selection,
                retired=one.retired,
                num_latents=length,
            )
        )
    for size, clips in groups.items():
        label = f"{window_frames} latent frames of {size[0]}x{size[1]}"
        yield _of_clips(_named(place, label), clips, units, access, num_frames=window_frames)


def _of_run(
    place: StreamPlace, one: SelectedRun, units: Mapping[str, ColumnUnits], access: Access
) -> Stream:
    columns = {name: StreamColumn.of_run(each, one.run, access) for name, each in units.items()}
    place = replace(_named(place, str(one.run.bucket)), first_place=one.first_place)
    return Stream(place, one.run, one.selection, columns, one.retired)


def _of_clips(
    place: StreamPlace,
    clips: Sequence[ClipRun],
    units: Mapping[str, ColumnUnits],
    access: Access,
    *,
    num_frames: int,
) -> Stream:
    rule = WindowRule(num_frames=num_frames, num_latents=[one.num_latents for one in clips])
    runs = [one.run for one in clips]
    columns = {name: WindowColumn(each, runs, rule, access) for name, each in units.items()}
    return WindowStream(place, clips, columns, num_frames=num_frames)


def _named(place: StreamPlace, label: str) -> StreamPlace:
    return replace(place, name=f"{place.name}/{place.generation}/{label}")


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
    sample_layout = read_template(units.view.folder, units.grid(run).entries.values())
    return (
        window_frames if sample_layout is None else num_latent_frames(record, sample_layout.fields)
    )
