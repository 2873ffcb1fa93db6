"""Pinning an encoding: from a loaded encoder's description to the record that never changes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from latentcache.core.errors import EncoderError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.inputs import encoded_bucket
from latentcache.core.media import Bucket
from latentcache.core.units import BucketRun
from latentcache.encoders import declared_facts, list_encoders
from latentcache.runner.encode_request import EncodeRequest
from latentcache.runner.messages.actor_setup import EncoderDescription
from latentcache.runner.run_options import EncodeOptions
from latentcache.store import BatchRule, EncodingRecord, Generation, Store

MAX_TAR_BYTES = 2**30
_MAX_ROWS_PER_UNIT = 8192
_MAX_BATCH = 64
_ANY_PIXELS = 2**62
"""Of a batch that is the same for all buckets."""


_SHOWN_REFUSALS = 5
"""Whole clips may have thousands of buckets, refused for one reason."""


def planned_runs(generations: Iterable[Generation]) -> list[BucketRun]:
    """Return the runs of all generations of a plan."""
    return [run for each in generations for run in each.runs]


def planned_buckets(runs: Iterable[BucketRun]) -> dict[str, bool]:
    """Return every bucket of a plan, as text, and whether its clips are long."""
    return {str(run.bucket): run.is_long for run in sorted(runs, key=lambda run: run.bucket)}


def check_buckets(description: EncoderDescription, encode: EncodeOptions) -> None:
    """Refuse an encoder that the plan does not fit, with every bucket that is in the way."""
    refuse_buckets(description.refusals, encode, modality=description.spec["modality"])


def refuse_buckets(refusals: Mapping[str, str], encode: EncodeOptions, *, modality: str) -> None:
    """Refuse an encoder that refuses buckets, if there are any.

    Args:
        refusals: Per bucket, why.
        encode: What is asked.
        modality: Of the encoder.

    Raises:
        EncoderError: There are some; the sentence names the way out.
    """
    if not refusals:
        return
    reasons = "; ".join([*refusals.values()][:_SHOWN_REFUSALS])
    raise EncoderError(
        f"encoder must take every bucket of the plan, got {len(refusals)} that "
        f"{encode.encoder} refuses ({reasons}); {_way_out(refusals, modality)}"
    )


def _way_out(refusals: Iterable[str], modality: str) -> str:
    """Return what to do about buckets that an encoder refuses."""
    buckets = [Bucket.parse(text) for text in refusals]
    if modality == "image" and all(bucket.num_frames > 1 for bucket in buckets):
        names = ", ".join(_of_clips(buckets[0]))
        return (
            f"name an encoder of clips ({names}), or take one picture of each clip with --column "
            "NAME --input first_frame"
        )
    if any(bucket.num_frames > 1 for bucket in buckets):
        return (
            "plan another store with --frames that it takes or --set plan.step=N, or choose "
            "another encoder"
        )
    return "plan another store with --set plan.step=N, or choose another encoder"


def _of_clips(bucket: Bucket) -> list[str]:
    """Return the first few encoders that take clips of ``bucket``."""
    taking = [
        each.name
        for each in list_encoders()
        if each.spec.modality == "video" and each.needs_weights and not each.refusal(bucket)
    ]
    return [*taking[:_SHOWN_REFUSALS], "..."] if len(taking) > _SHOWN_REFUSALS else taking


def declared_admission(request: EncodeRequest) -> Callable[[Sequence[BucketRun]], None]:
    """Return what refuses runs that are not written yet, by what is declared of the encoder.

    The function raises EncoderError.
    """

    def admit(runs: Sequence[BucketRun]) -> None:
        facts = declared_facts(request.encode.encoder)
        if facts is None:
            return
        asked = request.encode.input
        reasons = {run.bucket: facts.refusal(encoded_bucket(run.bucket, asked)) for run in runs}
        refuse_buckets(
            {str(bucket): why for bucket, why in reasons.items() if why},
            request.encode,
            modality=facts.spec.modality,
        )

    return admit


def encoding_record(
    request: EncodeRequest, description: EncoderDescription, runs: Iterable[BucketRun]
) -> EncodingRecord:
    """Return what is to be pinned for ``request``; nothing is written."""
    encode = request.encode
    largest = max(_batched_pixels(runs, encode.input), default=1)
    if (rule := encode.role_rule()) is not None and rule.resolution_px:
        largest = max(largest, rule.resolution_px**2)
    max_batch = encode.batch_size or _MAX_BATCH
    if description.max_batch is not None:
        max_batch = min(max_batch, description.max_batch)
    pixels = largest * encode.batch_size if encode.batch_size else description.pixels_per_batch
    row_bytes = description.bytes_per_pixel * largest
    if description.bytes_per_sample is not None:  # the size of its medium is nothing to a text
        pixels, row_bytes = _ANY_PIXELS, description.bytes_per_sample
    return EncodingRecord(
        write_id="",
        column=request.column,
        fingerprint=fingerprint(description.identity),
        identity=description.identity,
        spec={**description.spec, "source": encode.for_workers().encoder},
        fields=description.fields,
        normalizer=description.normalizer,
        policy=encode.policy,
        transform=description.transform,
        rows_per_unit=_rows_per_unit(row_bytes),
        batch=BatchRule(pixels=pixels, max=max_batch),
        threads=request.resources.threads,
        device_type=description.device_type,
        probe=description.probe,
    ).with_write_id_of_content()


def with_former_digest(
    store: Store, asked: EncodingRecord, former_digests: Sequence[str]
) -> EncodingRecord:
    """Return ``asked`` under the fingerprint that an earlier release gave the same encoding.

    Args:
        store: That may hold such an encoding.
        asked: As this release names it.
        former_digests: Of the same weights, by the rules of earlier releases.
    """
    there = {record.fingerprint for record in store.encodings(asked.column)}
    if asked.fingerprint in there:
        return asked
    for digest in former_digests:
        encoder = {**asked.identity["encoder"], "weights_digest": digest}
        identity = {**asked.identity, "encoder": encoder}
        if fingerprint(identity) in there:
            # No digest of its own: a record's is that of its bytes.
            return replace(asked, identity=identity, fingerprint=fingerprint(identity), digest="")
    return asked


def _batched_pixels(runs: Iterable[BucketRun], asked: str) -> Iterator[int]:
    """Yield how many pixels the encoder sees of a sample of each bucket.

    Long clips run alone, whatever the batch and the rows of other units: of them one frame
    counts, as of the pictures that may come beside them.
    """
    for run in runs:
        bucket = encoded_bucket(run.bucket, asked)
        yield bucket.height_px * bucket.width_px if run.is_long else bucket.num_pixels


def _rows_per_unit(largest_row_bytes: float) -> int:
    """Return R: the largest power of two of rows whose tar stays under 1 GiB."""
    fitting = max(1, int(MAX_TAR_BYTES / (largest_row_bytes + 2048)))
    return min(_MAX_ROWS_PER_UNIT, 1 << (fitting.bit_length() - 1))
