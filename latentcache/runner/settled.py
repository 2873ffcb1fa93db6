"""A finished column recognised from records alone: nothing is started to do nothing.

Whatever leaves a doubt (weights on a hub, an encoder of one's own, files touched since) says
nothing here, and the encoder is loaded and asked as ever.
"""

from dataclasses import replace
from pathlib import Path

from latentcache.core.counts import count_text
from latentcache.core.fingerprint import fingerprint
from latentcache.core.inputs import parse_input
from latentcache.encoders import EncoderFacts, declared_facts, encoding_identity
from latentcache.runner.encode.guards import final_limit_sentence
from latentcache.runner.encode.result import EncodeResult
from latentcache.runner.encode.served import options_of, served_column
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.run_progress import Reporter
from latentcache.runner.versions import version_of
from latentcache.runner.workers.starting import has_gpus
from latentcache.store import ColumnView, EncodingRecord, Store
from latentcache.store.format import encoding_folder

_CPU_DTYPE = "float32"
"""What every encoder known here computes in on a CPU unless told otherwise."""


def settled_column(
    store: Store, request: EncodeRequest, *, reporter: Reporter
) -> EncodeResult | None:
    """Return the result of a run that has nothing to do, or None if there is any doubt."""
    may_change = request.rerun or request.retry_quarantined or request.changed != "refuse"
    if may_change or not store.snapshots():
        return None
    if not parse_input(request.encode.input).is_of_sample:
        return None  # texts, or media of roles, may have been revised
    snapshot = store.snapshot()
    view = snapshot.columns.get(request.column)
    if view is None or view.entry.published is not None:
        return None  # figures that were corrected once may be meant to change again
    if not is_whole(store, view) or not _is_asked(store, view.record, request):
        return None
    record = view.record
    units = count_text(len(store.units(record)), "unit")
    reporter.message(f"{record.column}: {units} encoded with {record.spec['name']} already")
    sentence = final_limit_sentence(store, snapshot.number, request)
    return EncodeResult.from_view(view, snapshot=snapshot.number, limit_sentence=sentence)


def is_served(store: Store, request: EncodeRequest) -> bool:
    """Whether the newest snapshot serves what ``request`` names, of files that were not touched.

    Weights on a hub are taken to be what they were.
    """
    view = served_column(store, request.column)
    if view is None:
        return False
    asked = request.encode.for_workers()
    recorded = options_of(view.record)
    if any(getattr(asked, name) not in (value, "auto") for name, value in recorded.items()):
        return False
    facts = declared_facts(asked.encoder)
    location = asked.encoder.partition(":")[2].partition("?")[0]
    if facts is None or not Path(location).is_dir():
        return True
    return _are_weights_untouched(store, view.record, facts, asked.encoder)


def is_whole(store: Store, view: ColumnView) -> bool:
    """Whether the snapshot serves every unit of the plan as it is now, each still committed."""
    entry = view.entry
    if entry.num_missing or entry.num_generations != len(store.generations()):
        return False
    committed = store.commits(view.record)
    return all(unit.unit in committed for unit in store.units(view.record))


def _is_asked(store: Store, record: EncodingRecord, request: EncodeRequest) -> bool:
    """Whether ``request`` would pin this very encoding."""
    encode, resources = request.encode, request.resources
    source = encode.for_workers().encoder
    if request.expected_fingerprint not in ("", record.fingerprint):
        return False
    if record.spec.get("source") != source or resources.address != "local":
        return False
    device = "cuda" if has_gpus() and resources.device == "auto" else resources.device
    if record.device_type != device.replace("auto", "cpu"):
        return False
    facts = declared_facts(source)
    if facts is None or not _are_weights_untouched(store, record, facts, source):
        return False
    return _fingerprint(facts, record, request) == record.fingerprint and _is_software(
        store, record
    )


def _is_software(store: Store, record: EncodingRecord) -> bool:
    """Whether the libraries installed here are those that encoded: they make the same pixels."""
    ref = next(iter(store.commits(record).values()), None)
    if ref is None:
        return False
    then = store.read_commit(ref).software
    names = ("torch", "Pillow", "av", "numpy", "diffusers", "latentcache")
    return all(then.get(name) == version_of(name) for name in names)


def _fingerprint(facts: EncoderFacts, record: EncodingRecord, request: EncodeRequest) -> str:
    """Return the fingerprint of ``request``, with the weights and knobs of ``record``."""
    encode, recorded = request.encode, record.identity["encoder"]
    dtype = encode.dtype if encode.dtype != "auto" else _CPU_DTYPE
    spec = replace(
        facts.spec,
        compute_dtype=dtype,
        knobs=recorded["knobs"],
        weights_digest=recorded["weights_digest"],
    )
    transform = encode.transform(
        takes_clips=spec.modality == "video",
        libraries=record.identity["transform"].get("libraries", {}),
        clip_libraries=record.identity["transform"].get("video", {}).get("libraries", {}),
    )
    identity = encoding_identity(
        spec,
        policy=encode.policy,
        storage_dtype=None if encode.storage_dtype == "auto" else encode.storage_dtype,
        transform_identity=transform.identity(),
        seed=encode.seed,
        batch={"size": encode.batch_size} if encode.batch_size else {},
    )
    return fingerprint(identity)


def _are_weights_untouched(
    store: Store, record: EncodingRecord, facts: EncoderFacts, source: str
) -> bool:
    """Whether no file of the weights has changed since the encoding was pinned.

    By the time of the last change of each inode, which a copy that keeps times changes too.
    """
    if not facts.needs_weights:
        return True
    argument = source.partition(":")[2]
    folder = Path(argument if Path(argument).exists() else argument.partition("?")[0])
    name = f"{encoding_folder(record.column, record.fingerprint)}/encoding.json"
    pinned = store.folder.stat(name)
    if pinned is None or not store.folder.is_local or not folder.is_dir():
        return False  # a single file, whose config may lie anywhere, is loaded and asked
    seen = [folder, *(path for pattern in ("*", "vae/*") for path in folder.glob(pattern))]
    return all(path.stat().st_ctime < pinned.modified_s for path in seen)
