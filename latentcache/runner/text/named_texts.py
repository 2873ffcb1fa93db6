"""Texts that are encoded once for a whole encoding: those of the probe, the empty one, others."""

import torch

from latentcache.core.errors import EncoderError
from latentcache.core.fields import DTYPE_BYTES
from latentcache.runner.forward.batch_encoder import BatchEncoder
from latentcache.runner.forward.encoder_probe import ProbeResult, summary
from latentcache.runner.forward.stored_batch import row_payloads
from latentcache.runner.text.text_batch import TextBatch
from latentcache.store.format import write_tensors

TEXTS_PER_BATCH = 16
"""Where nothing is asked: enough to fill a GPU at some hundred tokens each."""

_PROBE = ("a photo of a red circle on the left of two blue squares", "")


def measured_text(encoder: BatchEncoder) -> ProbeResult:
    """Return what ``encoder`` makes of two fixed texts.

    Raises:
        EncoderError: It fails on them.
    """
    fields = {}
    for index, row in enumerate(_rows(encoder, _PROBE, size=len(_PROBE))):
        fields.update({f"{name}.{index}": summary(values) for name, values in row.items()})
    spec = encoder.encoder.spec
    longest = spec.knobs.get("max_length", 512)
    assert isinstance(longest, int), "a length is a number"
    num_bytes = sum(
        DTYPE_BYTES[field.dtype] * (field.channels or 1) * (longest if "N" in field.axes else 1)
        for field in encoder.policy.fields
    )
    return ProbeResult(
        values={"texts": list(_PROBE), "fields": fields},
        bytes_per_pixel=0.0,
        bytes_per_sample=num_bytes,
    )


def encoded_texts(encoder: BatchEncoder, texts: tuple[str, ...], *, size: int) -> list[bytes]:
    """Return each text's stored fields as a tensor file.

    Args:
        encoder: Of texts.
        texts: Each encoded alone, beside fillers.
        size: Of the pinned batch.

    Raises:
        EncoderError: It fails on one.
    """
    return [
        write_tensors({name: row_payloads(values[None])[0] for name, values in row.items()})
        for row in _rows(encoder, texts, size=size)
    ]


def _rows(
    encoder: BatchEncoder, texts: tuple[str, ...], *, size: int
) -> list[dict[str, torch.Tensor]]:
    found = []
    for text in texts:
        encoded = encoder.submit(TextBatch.of([text], size)).result()
        if not encoded.positions:
            raise EncoderError(
                f"encoder must encode {text[:60]!r}, got a failure ({encoder.encoder.spec.name}: "
                f"{encoded.rejects[0].reason}); check its weights and dtype"
            )
        found.append({name: values[0] for name, values in encoded.fields.items()})
    return found
