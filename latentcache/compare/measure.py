"""One space, measured: sample by sample, so that memory holds one at a time."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from latentcache.compare.compare_options import CompareOptions
from latentcache.compare.looks.between_look import BetweenLook
from latentcache.compare.looks.cost_look import CostLook
from latentcache.compare.looks.label_look import LabelLook
from latentcache.compare.looks.latent_look import LatentLook
from latentcache.compare.looks.pixel_look import DeepLook, PixelLook
from latentcache.compare.looks.probe_look import ProbeLook
from latentcache.compare.looks.row_values import RowValues
from latentcache.compare.looks.sample_reading import SampleReader
from latentcache.compare.looks.seen import Looker, Seen
from latentcache.compare.measured import Measured
from latentcache.compare.spaces import Space
from latentcache.core.errors import MediaError, StoreError
from latentcache.evaluate import PlannedSample

OnProgress = Callable[[int, int], None]


def measure_space(
    space: Space,
    samples: Mapping[str, PlannedSample],
    keys: Sequence[str],
    options: CompareOptions,
    *,
    on_progress: OnProgress = lambda _done, _total: None,
) -> Measured:
    """Return everything that is asked for of one space.

    Args:
        space: Opened.
        samples: Of it, by key; one that it lacks has no values.
        keys: Of those to measure, in order.
        options: What is asked.
        on_progress: Told after each sample.

    Raises:
        ShardCorruptError: The store is damaged.
    """
    reader = SampleReader(space, corpus_url=options.corpus_url)
    measured = Measured(name=space.name, facts=space_facts(space), keys=tuple(keys))
    for note in space.notes:
        measured.note("modelability", note)
    lookers, sizes = _lookers(reader, len(keys), options), RowValues(len(keys))
    skipped: dict[str, str] = {}
    for place, key in enumerate(keys):
        if (sample := samples.get(key)) is not None:
            fields = reader.fields(sample)
            sizes.put(place, "bytes_per_sample", _num_bytes(fields))
            pair = None
            try:
                pair = reader.pair(sample, fields)
            except (MediaError, StoreError) as error:
                skipped[key] = f"{sample.source.label}: {error}"
            seen = Seen(
                place=place,
                sample=sample,
                fields=fields,
                latent_CTHW=reader.latent(fields),
                pair=pair,
            )
            for looker in lookers:
                looker.see(seen)
        on_progress(place + 1, len(keys))
    measured.values.update(sizes.values)
    measured.facts["skipped"] = skipped
    for looker in lookers:
        looker.finish(measured)
    return measured


def _lookers(reader: SampleReader, num_rows: int, options: CompareOptions) -> list[Looker]:
    """Return those that the sections asked for need, in the order in which they speak."""
    asked, lookers = set(options.sections), list[Looker]()
    lookers.append(PixelLook(num_rows, num_shown=options.num_shown))
    if asked & {"fidelity", "modelability", "cost"}:
        lookers.append(DeepLook(reader, num_rows, num_deep=options.num_deep))
    if "modelability" in asked:
        lookers += [LatentLook(reader, num_rows), BetweenLook(reader)]
        if options.probe is not None:
            lookers.append(ProbeLook(reader, options.probe))
    if "cost" in asked:
        lookers.append(CostLook(reader, num_rows))
    if "semantics" in asked:
        shown, labels = options.num_shown, options.labels
        lookers.append(LabelLook(reader.space, num_rows, labels=labels, num_shown=shown))
    return lookers


def space_facts(space: Space) -> dict[str, object]:
    """Return what is known of a space without measuring, as plain values."""
    view, record = space.view, space.view.record
    field = next((each for each in record.fields if each.channels), record.fields[0])
    return {
        "encoder": str(record.spec.get("source") or record.spec.get("name") or "?"),
        "column": view.name,
        "store": view.folder.label,
        "snapshot": space.snapshot.number,
        "encoding": record.fingerprint,
        "stored": [f"{each.name} {each.axes} {each.dtype}" for each in record.fields],
        "channels": field.channels,
        "spatial_factor": list(record.spec.get("spatial_factor") or ()),
        "normalized": space.normalizer.source if space.normalizer else None,
        "num_encoded": view.num_encoded,
        "num_bytes": view.num_bytes,
        "pixels": {},
    }


def _num_bytes(fields: Mapping[str, Tensor]) -> float:
    return float(sum(each.numel() * each.element_size() for each in fields.values()))
