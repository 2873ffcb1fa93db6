"""Pinning an encoding: from a loaded encoder's description to the record that never changes."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from latentcache.core.errors import EncoderError
from latentcache.core.fingerprint import fingerprint
from latentcache.core.inputs import encoded_bucket
from latentcache.core.seeds import new_write_id
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


def planned_buckets(generations: list[Generation]) -> dict[str, bool]:
    """Return every bucket of the plan, as text, and whether its clips are long."""
    runs = [run for each in generations for run in each.runs]
    return {str(run.bucket): run.is_long for run in sorted(runs, key=lambda run: run.bucket)}


def check_buckets(description: EncoderDescription, encode: EncodeOptions) -> None:
    """Refuse an encoder that the plan does not fit, with every bucket that is in the way."""
    if description.refusals:
        reasons = "; ".join([*description.refusals.values()][:_SHOWN_REFUSALS])
        raise EncoderError(
            f"encoder must take every bucket of the plan, got {len(description.refusals)} that "
            f"{encode.encoder} refuses ({reasons}); plan another store with --set plan.step=N, "
            "or choose another encoder"
        )


def encoding_record(
    request: EncodeRequest, description: EncoderDescription, generations: list[Generation]
) -> EncodingRecord:
    """Return what is to be pinned for ``request``; nothing is written."""
    encode = request.encode
    largest = max(_batched_pixels(generations, encode.input), default=1)
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
        write_id=new_write_id(),
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
    )


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


def _batched_pixels(generations: list[Generation], asked: str) -> Iterator[int]:
    """Yield how many pixels the encoder sees of a sample of each bucket.

    Long clips run alone, whatever the batch and the rows of other units: of them one frame
    counts, as of the pictures that may come beside them.
    """
    for run in (run for each in generations for run in each.runs):
        bucket = encoded_bucket(run.bucket, asked)
        yield bucket.height_px * bucket.width_px if run.is_long else bucket.num_pixels


def _rows_per_unit(largest_row_bytes: float) -> int:
    """Return R: the largest power of two of rows whose tar stays under 1 GiB."""
    fitting = max(1, int(MAX_TAR_BYTES / (largest_row_bytes + 2048)))
    return min(_MAX_ROWS_PER_UNIT, 1 << (fitting.bit_length() - 1))
