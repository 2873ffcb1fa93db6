"""Exporting: a snapshot's live samples, written as another tool reads them."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args

from latentcache.core.errors import ConfigError
from latentcache.core.fingerprint import canonical_json
from latentcache.exchange.chosen_rows import (
    ChosenRun,
    LiveSample,
    choose_rows,
    iter_samples,
)
from latentcache.exchange.copying import Progress
from latentcache.exchange.formats.mds_shards import MdsShards
from latentcache.exchange.formats.musubi_folder import ARCHITECTURES, MusubiFolder
from latentcache.exchange.formats.simpletuner_folder import SimpleTunerFolder
from latentcache.exchange.formats.webdataset_tars import WebDatasetTars
from latentcache.exchange.model_space import Draw, LatentMaker
from latentcache.storage import Folder
from latentcache.store import ColumnView, Snapshot
from latentcache.store.rows import read_rows

MARK = "latentcache-export.json"
"""Beside the tars: what they were written from."""

FORMATS = ("webdataset", "mds", "musubi", "simpletuner")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What is asked.

    Attributes:
        format: One of ``FORMATS``.
        columns: Of latents, texts or features; the folders of trainers take one, of latents.
        filter_text: Which samples; "" for all that are live.
        architecture: Of musubi-tuner, e.g. ``wan``.
        draw: ``mode`` or ``sample`` of the posterior, for the folders of trainers.
        dtype: Of the tensors in them; ``auto`` is that of storage.
    """

    format: str
    columns: tuple[str, ...] = ("latents",)
    filter_text: str = ""
    architecture: str = ""
    draw: Draw = "mode"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f"format must be one of {', '.join(FORMATS)}, got {self.format!r}")
        if self.draw not in get_args(Draw):
            raise ConfigError(f"posterior must be mode or sample, got {self.draw!r}")
        if (self.format == "musubi") != bool(self.architecture):
            raise ConfigError(
                f"architecture must be given for musubi and for nothing else, got "
                f"{self.architecture!r} for {self.format}; one of {', '.join(ARCHITECTURES)}"
            )
        if self.architecture and self.architecture not in ARCHITECTURES:
            raise ConfigError(
                f"architecture must be one of {', '.join(ARCHITECTURES)}, got "
                f"{self.architecture!r}; the edit models of musubi-tuner want control latents too"
            )
        if self.format in ("musubi", "simpletuner") and len(self.columns) != 1:
            raise ConfigError(
                f"{self.format} must be given one column, got {', '.join(self.columns)}; export "
                "them one by one"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written.

    Attributes:
        num_samples: Written, or there already.
        lacking: Samples left out, by the column that has nothing of them.
        notes: What the other tool needs beside this.
    """

    num_samples: int
    lacking: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class _Writer(Protocol):
    def add(self, sample: LiveSample) -> None: ...

    def finish(self) -> None: ...


def export_samples(
    snapshot: Snapshot, dest_url: str | Path, request: ExportRequest, *, on_progress: Progress
) -> ExportResult:
    """Write the live samples of a snapshot as another tool reads them.

    Args:
        snapshot: That is read.
        dest_url: A folder; what is there under other names stays.
        request: What is asked.
        on_progress: Told of samples.

    Raises:
        ConfigError: The column does not fit the format, two samples would have one name, or the
            filter selects nothing; nothing is written then.
    """
    views = {name: snapshot.column(name) for name in request.columns}
    chosen = choose_rows(snapshot, request.columns, filter_text=request.filter_text)
    dest = Folder.open(dest_url)
    lacking: Counter[str] = Counter()
    total = sum(len(each.places) for each in chosen)
    if request.format == "webdataset":
        count = _write_tars(snapshot, chosen, request, dest, lacking, on_progress)
        return ExportResult(num_samples=count, lacking=dict(lacking))
    writer = _writer(request, views, dest)
    if isinstance(writer, MusubiFolder | SimpleTunerFolder):
        _check_names(snapshot, chosen, writer)
    count = 0
    for sample in _iter_all(snapshot, chosen, request.columns, lacking):
        writer.add(sample)
        count += 1
        on_progress(count + lacking.total(), total)
    writer.finish()
    return ExportResult(num_samples=count, lacking=dict(lacking), notes=_notes(request))


def _writer(request: ExportRequest, views: Mapping[str, ColumnView], dest: Folder) -> _Writer:
    if request.format == "mds":
        if not dest.is_empty():
            raise ConfigError(f"destination of mds must be empty, got {dest.label}; empty it first")
        return MdsShards(dest, views)
    (view,) = views.values()
    if request.format == "simpletuner":
        maker = LatentMaker.of(view, space="scaled", draw=request.draw, dtype=request.dtype)
        return SimpleTunerFolder(dest, maker)
    architecture = ARCHITECTURES[request.architecture]
    maker = LatentMaker.of(view, space=architecture.space, draw=request.draw, dtype=request.dtype)
    _check_channels(view, maker, request.architecture)
    return MusubiFolder(dest, maker, request.architecture)


def _check_channels(view: ColumnView, maker: LatentMaker, name: str) -> None:
    channels = maker.field.channels or 0
    for op in maker.normalizer.ops:
        if op["op"] == "patchify":
            channels *= int(op["size"]) ** 2
    wanted = ARCHITECTURES[name].channels
    if channels not in wanted:
        raise ConfigError(
            f"latents must have {' or '.join(map(str, wanted))} channels for {name}, got "
            f"{channels} (column {view.name}); name the column of its VAE"
        )


def _check_names(
    snapshot: Snapshot, chosen: Sequence[ChosenRun], writer: MusubiFolder | SimpleTunerFolder
) -> None:
    """Refuse samples of one name: such a folder knows pictures by their names alone."""
    fields = ["path", "member", "bucket", "start_s", "frame_rate_fps"]
    seen: dict[str, str] = {}
    for each in chosen:
        for shard, rows in each.by_shard():
            table = read_rows(snapshot.folder, each.generation, shard, fields)
            planned: list[dict[str, Any]] = table.to_pylist()
            for row in rows.tolist():
                label = planned[row]["member"] or planned[row]["path"]
                name = writer.name_of(planned[row])
                other = seen.get(name)
                if other == label:
                    raise ConfigError(
                        f"samples must have one row each there, got several of {label}; export one "
                        "placement, for instance with --filter 'crop_index == 0 and not is_flipped'"
                    )
                seen[name] = label
                if other is not None:
                    raise ConfigError(
                        f"samples must have names of their own there, got {other} and {label}, "
                        "which are one to it; export one of them with --filter"
                    )


def _iter_all(
    snapshot: Snapshot,
    chosen: Sequence[ChosenRun],
    columns: Sequence[str],
    lacking: Counter[str],
) -> Iterator[LiveSample]:
    names = sorted(snapshot.record.annotations)
    for each in chosen:
        yield from iter_samples(snapshot, each, columns, names, lacking)


def _write_tars(
    snapshot: Snapshot,
    chosen: Sequence[ChosenRun],
    request: ExportRequest,
    dest: Folder,
    lacking: Counter[str],
    on_progress: Progress,
) -> int:
    total = sum(len(each.places) for each in chosen)
    names = sorted(snapshot.record.annotations)
    count = done = 0
    _mark(dest, snapshot, request)
    with tempfile.TemporaryDirectory(prefix="latentcache-export-") as scratch:
        tars = WebDatasetTars(dest, Path(scratch))
        for each in chosen:
            for shard, rows in each.by_shard():
                if not tars.has(shard.unit.shard):
                    places = rows + (shard.unit.shard - each.run.first_shard) * (
                        each.run.rows_per_shard
                    )
                    of_shard = ChosenRun(each.generation, each.run, places)
                    samples = iter_samples(snapshot, of_shard, request.columns, names, lacking)
                    count += tars.write_shard(shard.unit.shard, samples)
                else:
                    count += len(rows)
                done += len(rows)
                on_progress(done, total)
    return count


def _mark(dest: Folder, snapshot: Snapshot, request: ExportRequest) -> None:
    """Note what the tars of a folder are of, so that another export is not mixed with them.

    Raises:
        ConfigError: They are of another snapshot, filter or columns.
    """
    told = {"pin": str(snapshot.pin), "columns": request.columns, "filter": request.filter_text}
    data = canonical_json(told).encode()
    if dest.stat(MARK) is None:
        if not dest.is_empty():
            raise ConfigError(
                f"destination must be empty or an export begun before, got {dest.label} with "
                "other files in it; choose another"
            )
        dest.write(MARK, data)
    elif dest.read(MARK) != data:
        raise ConfigError(
            f"destination must be of the same snapshot, columns and filter, got "
            f"{dest.read(MARK).decode()} ({dest.label}); choose another"
        )


def _notes(request: ExportRequest) -> tuple[str, ...]:
    if request.format == "musubi":
        return (
            f"musubi-tuner pairs each file with STEM_{request.architecture}_te.safetensors: run "
            "its cache_text_encoder_outputs over the same pictures into the same folder, and keep "
            "enable_bucket on with the resolution of the plan",
        )
    if request.format == "simpletuner":
        return (
            "SimpleTuner finds these by the pictures' names and groups them by its own scan: give "
            "it the same folder of pictures, and a resolution and crop that give the plan's sizes",
        )
    return ()
