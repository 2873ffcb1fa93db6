"""A whole small store of drawn pictures, made by the real stages in one process, without Ray."""

import shutil
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentcache.core.errors import MediaError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.units import UnitRange
from latentcache.decode import (
    ImageLimits,
    ImageTransform,
    MediaTransform,
    classify,
    decode_image,
)
from latentcache.encoders import (
    EncoderOptions,
    SampleMeta,
    apply_policy,
    encoding_identity,
    load_encoder,
    stack_fields,
    stored_fields,
)
from latentcache.plan import Listing, PlanOptions, assign, open_corpus, read_source
from latentcache.runner.decode.batch_collector import PLAN_COLUMNS, decode_rows_of
from latentcache.runner.scan import ScanSettings, probe_media
from latentcache.stats import UnitStatistics, merge_arrays
from latentcache.store import (
    BatchRule,
    ColumnChange,
    EncodingRecord,
    Generation,
    GenerationDraft,
    Provenance,
    Snapshot,
    Store,
    UnitWriter,
)
from latentcache.testing.drawn import write_drawn_corpus

LIMITS = ImageLimits()
TRANSFORM = MediaTransform(image=ImageTransform())
NUM_GOOD, NUM_BROKEN = 14, 3
OPTIONS = PlanOptions(resolution_px=64, rows_per_shard=4)


def draw_corpus(folder: Path) -> Path:
    write_drawn_corpus(folder, NUM_GOOD, num_broken=NUM_BROKEN, size_px=64, seed=1)
    return folder


def plan_store(corpus: Path, url: Path, scratch: Path) -> Store:
    """Return a new store with the corpus' plan."""
    store = Store.create(url)
    opened = open_corpus(str(corpus))
    listing = Listing(opened, OPTIONS)
    settings = ScanSettings(corpus=opened.root, limits=LIMITS, time_limit_s=30.0)
    scanned = (
        [sample for file in probe_media(settings, chunk) for sample in file.samples]
        for chunk in listing.chunks()
    )
    scratch.mkdir()
    assignment = assign(scanned, OPTIONS, scratch)
    store.write_generation(
        GenerationDraft(
            corpus_url=opened.root.url,
            corpus_kind=opened.kind,
            options=OPTIONS.as_dict(),
            seed=OPTIONS.seed,
            runs=assignment.runs,
            rows=assignment.iter_rows(),
            rejects=assignment.iter_rejects(),
            totals={"rejects_by_code": dict(assignment.reject_codes), "ignored": {}},
        )
    )
    shutil.rmtree(scratch)
    return store


def pin_encoding(store: Store, encoder: str = "dct", column: str = "latents") -> EncodingRecord:
    """Return the pinned encoding of ``column`` by ``encoder``."""
    spec = load_encoder(encoder, EncoderOptions(device="cpu")).spec
    identity = encoding_identity(
        spec,
        policy="moments",
        storage_dtype=None,
        transform_identity=TRANSFORM.identity(),
        seed=0,
        batch={},
    )
    record = EncodingRecord(
        write_id="0" * 16,
        column=column,
        fingerprint=fingerprint(identity),
        identity=identity,
        spec={"name": spec.name, "source": encoder},
        fields=stored_fields(spec, "moments"),
        normalizer=None if spec.normalizer is None else asdict(spec.normalizer),
        policy="moments",
        transform=TRANSFORM.identity(),
        rows_per_unit=4,
        batch=BatchRule(pixels=4096, max=1),
        threads=1,
        device_type="cpu",
        probe={},
    )
    return store.write_encoding(record)


def encode_unit(store: Store, record: EncodingRecord, unit: UnitRange) -> None:
    """Encode and commit one unit, row by row."""
    encoder = load_encoder(record.spec["source"], EncoderOptions(device="cpu"))
    generation = store.generations()[unit.generation]
    provenance = Provenance(generation_digest=generation.digest, software={"latentcache": "0"})
    statistics = UnitStatistics(record.fields, encoder.spec.posterior)
    rows = decode_rows_of(store.read_rows(unit, PLAN_COLUMNS))
    with UnitWriter(store.folder, record, unit, provenance=provenance) as writer:
        for planned in rows:
            data = _read(generation, planned)
            digest = blake2b(data, digest_size=16).digest()
            try:
                pixels = decode_image(
                    data, unit.bucket, planned.geometry, transform=TRANSFORM.image, limits=LIMITS
                )
            except MediaError as error:
                writer.reject(planned.row, classify(error, stage="decode"), digest)
                continue
            stored = _encode(encoder, record, pixels, planned.key)
            writer.add(planned.row, planned.key, {n: v[0] for n, v in stored.items()}, digest)
            statistics.add({name: each.astype(np.float32) for name, each in stored.items()})
        writer.finish(statistics.arrays())


def _read(generation: Generation, planned: Any) -> bytes:
    return read_source(open_corpus(generation.corpus_url).root, planned.source)


def _encode(
    encoder: Any, record: EncodingRecord, pixels: np.ndarray, key: str
) -> dict[str, np.ndarray]:
    low, high = encoder.spec.input_range
    batch = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    raw = stack_fields(encoder.encode(batch * (high - low) + low, [SampleMeta(key=key)]))
    stored = apply_policy(raw, record.fields, policy="moments", seed=0, keys=[key])
    return {name: values.numpy() for name, values in stored.items()}


def publish(store: Store, record: EncodingRecord, *, allow_partial: bool = False) -> Snapshot:
    change = ColumnChange(record=record, merge_statistics=merge_arrays)
    return store.publish([change], allow_partial=allow_partial)


def build_drawn_store(folder: Path) -> Store:
    """Return a complete store at ``folder/store`` of the corpus at ``folder/corpus``."""
    torch.set_num_threads(1)
    store = plan_store(draw_corpus(folder / "corpus"), folder / "store", folder / "scratch")
    record = pin_encoding(store)
    for unit in store.units(record):
        encode_unit(store, record, unit)
    publish(store, record)
    return store
