"""One space, measured: sample by sample, so that memory holds one at a time."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from latentcache.compare.compare_options import NO_JUDGES, CompareOptions, Judges
from latentcache.compare.looks.between_look import BetweenLook
from latentcache.compare.looks.cost_look import CostLook
from latentcache.compare.looks.judged_look import LpipsLook, RfidLook
from latentcache.compare.looks.label_look import LabelLook
from latentcache.compare.looks.latent_look import LatentLook
from latentcache.compare.looks.pixel_look import DeepLook, PixelLook
from latentcache.compare.looks.probe_look import ProbeLook
from latentcache.compare.looks.row_values import RowValues
from latentcache.compare.looks.sample_reading import SampleReader
from latentcache.compare.looks.seen import DearLooker, Looker, Seen
from latentcache.compare.measured import Measured
from latentcache.compare.metrics.probe import OnTrained
from latentcache.compare.pace import OnStage
from latentcache.compare.spaces import Space
from latentcache.compare.unfinished import Unfinished
from latentcache.core.errors import MediaError, StoreError
from latentcache.evaluate import PlannedSample


def measure_space(  # noqa: PLR0913  what is measured, by what, and who is told
    space: Space,
    samples: Mapping[str, PlannedSample],
    keys: Sequence[str],
    options: CompareOptions,
    *,
    judges: Judges = NO_JUDGES,
    on_stage: OnStage = lambda _stage, _done, _total: None,
    unfinished: Unfinished | None = None,
) -> Measured:
    """Return everything that is asked for of one space.

    Args:
        space: Opened.
        samples: Of it, by key; one that it lacks has no values.
        keys: Of those to measure, in order.
        options: What is asked.
        judges: Of decodes.
        on_stage: Told after each sample, and after each step of the probe.
        unfinished: Where a stop leaves what was measured; None keeps nothing.

    Raises:
        ShardCorruptError: The store is damaged.
    """
    reader = SampleReader(space, corpus_url=options.corpus_url)
    measured = Measured(name=space.name, facts=space_facts(space), keys=tuple(keys))
    for note in space.notes:
        measured.note("modelability", note)
    walk = _Walk(reader, keys, options, judges, unfinished or Unfinished(None, ""), on_stage)
    walk.go(samples, measured)
    if len(walk.decoded) < len(keys):
        measured.facts["num_decoded"] = len(walk.decoded)
    for looker in walk.lookers:
        looker.finish(measured)
    return measured


class _Walk:
    """Takes every sample past those who look, and keeps what a stop would cost dear."""

    def __init__(
        self,
        reader: SampleReader,
        keys: Sequence[str],
        options: CompareOptions,
        judges: Judges,
        unfinished: Unfinished,
        on_stage: OnStage,
    ) -> None:
        self._reader, self._keys, self._unfinished = reader, keys, unfinished
        self._on_stage = on_stage
        count = len(keys)
        self.decoded = set(options.places_decoded(count))
        self._dear = _dear_lookers(reader, count, options, judges)
        self.lookers = [*self._dear, *_cheap_lookers(reader, count, options, on_stage)]
        self._done: set[int] = set()
        if (before := unfinished.read()) is not None:
            self._done = set(before.facts["done"])
            for looker in self._dear:
                looker.resume(before)

    def go(self, samples: Mapping[str, PlannedSample], measured: Measured) -> None:
        """See every sample once, in order."""
        sizes, skipped = RowValues(len(self._keys)), dict[str, str]()
        try:
            for place, key in enumerate(self._keys):
                if (sample := samples.get(key)) is not None:
                    self._see(place, sample, sizes, skipped)
                if self._unfinished.is_due:
                    self._keep()
                self._on_stage("samples", place + 1, len(self._keys))
        finally:
            # Also where it was stopped, and before the probe, which may be.
            self._keep()
        measured.values.update(sizes.values)
        measured.facts["skipped"] = skipped

    def _see(
        self, place: int, sample: PlannedSample, sizes: RowValues, skipped: dict[str, str]
    ) -> None:
        reader = self._reader
        fields = reader.fields(sample)
        sizes.put(place, "bytes_per_sample", _num_bytes(fields))
        is_decoded = place in self.decoded and place not in self._done
        pair = None
        try:
            pair = reader.pair(sample, fields, is_decoded=is_decoded)
        except (MediaError, StoreError) as error:
            skipped[sample.key] = f"{sample.source.label}: {error}"
        latent = reader.latent(fields)
        seen = Seen(place=place, sample=sample, fields=fields, latent_CTHW=latent, pair=pair)
        for looker in self.lookers:
            looker.see(seen)
        if is_decoded:
            self._done.add(place)

    def _keep(self) -> None:
        kept = Measured(name="", facts={"done": sorted(self._done)}, keys=tuple(self._keys))
        for looker in self._dear:
            looker.keep(kept)
        self._unfinished.write(kept)


def _dear_lookers(
    reader: SampleReader, num_rows: int, options: CompareOptions, judges: Judges
) -> list[DearLooker]:
    """Return those that look at decodes; pixels also say which samples are the same."""
    places, asked = options.places_decoded(num_rows), set(options.sections)
    lookers: list[DearLooker] = [PixelLook(num_rows, places, num_shown=options.num_shown)]
    if asked & {"fidelity", "modelability", "cost"}:
        lookers.append(DeepLook(reader, num_rows, options.places_deep(num_rows)))
    if "fidelity" in asked:
        if judges.lpips is not None:
            lookers.append(LpipsLook(judges.lpips, num_rows))
        if judges.inception is not None:
            lookers.append(RfidLook(judges.inception, len(places)))
    return lookers


def _cheap_lookers(
    reader: SampleReader, num_rows: int, options: CompareOptions, on_stage: OnStage
) -> list[Looker]:
    """Return those that the sections asked for need beside decodes, in the order they speak."""
    asked, lookers, probe = set(options.sections), list[Looker](), options.probe
    if "modelability" in asked:
        lookers += [LatentLook(reader, num_rows), BetweenLook(reader)]
        if probe is not None:
            total = probe.num_seeds * probe.num_steps
            on_trained: OnTrained = lambda done: on_stage("probe", done, total)  # noqa: E731
            lookers.append(ProbeLook(reader, probe, on_trained))
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
