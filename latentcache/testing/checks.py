"""The checks of the encoder contract; ``contract`` runs them and those of ``checks_time``.

A check returns a line about what it saw, or raises ``CheckFailedError`` or
``CheckSkippedError``. Numbers follow docs/encoders.md, "The contract".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch

from latentcache.core.errors import LatentCacheError
from latentcache.core.fields import Field
from latentcache.core.media import Bucket
from latentcache.encoders import Encoder, QuantizingEncoder, field_shape
from latentcache.testing.normalizing import denormalize, normalize
from latentcache.testing.trial import (
    CLOSE,
    ULP,
    CheckFailedError,
    CheckSkippedError,
    Trial,
    find_modules,
    make_metas,
    require_close,
    require_same_bits,
)


def check_geometry(trial: Trial) -> str:
    """1: shapes are as declared, and what does not fit is refused by the adapter."""
    _check_multiple(trial)
    for bucket in trial.buckets():
        batch = trial.encode(trial.pixels(bucket))
        names = {field.name for field in trial.spec.fields}
        if set(batch) != names:
            raise CheckFailedError(f"fields must be {sorted(names)}, got {sorted(batch)}")
        for field in trial.spec.fields:
            _check_shape(trial, field, bucket, tuple(batch[field.name].shape[1:]))
    refused = [_require_refusal(trial, bucket) for bucket in _illegal_buckets(trial)]
    return f"{len(trial.buckets())} buckets as declared, {len(refused)} misfits refused"


def _check_multiple(trial: Trial) -> None:
    spec = trial.spec
    has_grid = any({"H", "W"} & set(field.axes) for field in spec.fields)
    pairs = zip(spec.multiple_of, spec.spatial_factor, strict=True)
    if has_grid and spec.fixed_size is None and any(rule % factor for rule, factor in pairs):
        raise CheckFailedError(
            f"multiple_of must be a multiple of spatial_factor {spec.spatial_factor}, got "
            f"{spec.multiple_of}; models trim what is left over in silence"
        )


def _check_shape(trial: Trial, field: Field, bucket: Bucket, got: tuple[int, ...]) -> None:
    if len(got) != len(field.axes):
        raise CheckFailedError(f"field {field.name} must have axes {field.axes}, got shape {got}")
    if not set(field.axes) <= set("CTHW"):
        return  # tokens and codebooks: only the number of axes is declared
    # A shared channel may come repeated: it is cut to one when stored.
    expected = field_shape(trial.spec, replace(field, broadcast=""), bucket)
    shared = field_shape(trial.spec, field, bucket)
    if got not in (expected, shared):
        raise CheckFailedError(
            f"field {field.name} of {bucket} must be {expected} by spatial_factor "
            f"{trial.spec.spatial_factor} and frame_rule, got {got}"
        )


def _illegal_buckets(trial: Trial) -> list[Bucket]:
    spec, legal = trial.spec, trial.buckets()[0]
    height, width, num_frames = legal.height_px, legal.width_px, legal.num_frames
    candidates = [Bucket(num_frames, height + 1, width), Bucket(num_frames, height, width + 1)]
    if spec.modality == "video":
        candidates += [Bucket(num_frames + extra, height, width) for extra in (1, 2, 3)]
    return [bucket for bucket in candidates if spec.refusal(bucket) is not None]


def _require_refusal(trial: Trial, bucket: Bucket) -> Bucket:
    try:
        trial.encoder.encode(trial.pixels(bucket), make_metas(1))
    except (LatentCacheError, ValueError):
        return bucket
    except RuntimeError as error:
        raise CheckFailedError(
            f"{bucket} must be refused by the adapter, reached the model ({error}); "
            "call check_batch first"
        ) from error
    finally:
        trial.encoder.reset()
    raise CheckFailedError(f"{bucket} must be refused, was encoded; call check_batch first")


def check_determinism(trial: Trial) -> str:
    """2: twice the same bits, finite, eval mode, no gradients."""
    for module in find_modules(trial.encoder):
        training = [name for name, part in module.named_modules() if part.training]
        if training:
            raise CheckFailedError(
                f"modules must be in eval mode, {training[0] or type(module).__name__!r} is in "
                "training mode; call .eval()"
            )
    pixels = trial.pixels(trial.buckets()[0], num_rows=trial.batch_size)
    first = trial.encoder.encode(pixels, make_metas(len(pixels)))
    if any(values.requires_grad for row in first for values in row.values()):
        raise CheckFailedError("fields must not require gradients; use torch.inference_mode")
    batch = trial.encode(pixels)
    for name, values in batch.items():
        if values.is_floating_point() and not bool(torch.isfinite(values).all()):
            raise CheckFailedError(f"field {name} must be finite on random pixels")
    require_same_bits(trial.encode(pixels), batch, what="a second call")
    return "same bits twice, finite"


def check_batch_size(trial: Trial) -> str:
    """3: a batch of rows gives what each row alone gives; the largest batch is honoured."""
    spec = trial.spec
    bucket = trial.buckets()[0]
    if spec.max_batch is not None:
        _require_batch_limit(trial, bucket, spec.max_batch)
    if spec.is_batch_coupled:
        raise CheckSkippedError("declared batch-coupled: it runs with batches of one")
    if trial.batch_size == 1:
        raise CheckSkippedError("takes one row a batch")
    pixels = trial.pixels(bucket, num_rows=2)
    batch = trial.encode(pixels)
    for row in range(2):
        alone = trial.encode(pixels[row : row + 1])
        together = {name: values[row : row + 1] for name, values in batch.items()}
        require_close(together, alone, tolerance=CLOSE, what=f"row {row} of a batch of 2")
    return f"batches of 2 and 1 agree to {CLOSE:g}"


def _require_batch_limit(trial: Trial, bucket: Bucket, max_batch: int) -> None:
    pixels = trial.pixels(bucket, num_rows=max_batch + 1)
    try:
        trial.encoder.encode(pixels, make_metas(len(pixels)))
    except (LatentCacheError, ValueError):
        return
    raise CheckFailedError(f"a batch above max_batch = {max_batch} must be refused")


def check_hygiene(trial: Trial) -> str:
    """6: after an error and ``reset`` the encoder gives what a fresh one gives."""
    bucket = trial.buckets()[0]
    pixels = trial.pixels(bucket, seed=1)
    expected = trial.encode(pixels, encoder=trial.factory())
    encoder = trial.factory()
    num_errors = 0
    for module in find_modules(encoder):
        num_errors += _fail_within(trial, encoder, module, bucket)
    for illegal in _illegal_buckets(trial)[:1]:
        try:
            encoder.encode(trial.pixels(illegal), make_metas(1))
        except (LatentCacheError, ValueError, RuntimeError):
            num_errors += 1
        encoder.reset()
    got = trial.encode(pixels, encoder=encoder)
    require_same_bits(got, expected, what=f"after {num_errors} errors")
    return f"same bits as a fresh encoder after {num_errors} errors"


def _fail_within(trial: Trial, encoder: Encoder, module: torch.nn.Module, bucket: Bucket) -> int:
    """Let a module fail halfway through an encode; return how many errors came out."""
    pixels = trial.pixels(bucket, seed=2)
    with _counted_calls(module, fail_at=0) as calls:
        encoder.encode(pixels, make_metas(1))
    try:
        with _counted_calls(module, fail_at=(calls[0] + 1) // 2):
            encoder.encode(pixels, make_metas(1))
    except (LatentCacheError, RuntimeError):
        return 1
    finally:
        encoder.reset()
    return 0


@contextmanager
def _counted_calls(module: torch.nn.Module, *, fail_at: int) -> Iterator[list[int]]:
    """Count calls of a module's leaves, and raise ``RuntimeError`` at call ``fail_at`` (from 1)."""
    calls = [0]

    def count(*_: object) -> None:
        calls[0] += 1
        if calls[0] == fail_at:
            raise RuntimeError("made to fail by the contract")

    leaves = [part for part in module.modules() if not list(part.children())]
    handles = [leaf.register_forward_pre_hook(count) for leaf in leaves]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def check_normalizer(trial: Trial) -> str:
    """7: the published normalization can be undone, and fits real latents if given some."""
    normalizer = trial.spec.normalizer
    if normalizer is None:
        raise CheckSkippedError("publishes no normalization")
    field = trial.spec.fields[0]
    batch = trial.encode(trial.pixels(trial.buckets()[0]))
    latents = batch[field.name].double()
    try:
        normalized = normalize(latents, normalizer.ops, field.axes)
        restored = denormalize(normalized, normalizer.ops, field.axes)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise CheckFailedError(f"normalizer must fit {field.name}, does not: {error}") from error
    if not bool(torch.isfinite(normalized).all()):
        raise CheckFailedError("normalized latents must be finite")
    require_close({"": restored}, {"": latents}, tolerance=ULP, what="normalize and back")
    if trial.sample_pixels is None:
        return "invertible; no real sample given"
    return "invertible; " + _check_scores(trial, field)


def _check_scores(trial: Trial, field: Field) -> str:
    assert trial.sample_pixels is not None
    assert trial.spec.normalizer is not None
    latents = trial.encode(trial.sample_pixels)[field.name].double()
    scores = normalize(latents, trial.spec.normalizer.ops, field.axes).transpose(0, 1).flatten(1)
    mean, std = scores.mean(dim=1).abs().max(), scores.std(dim=1)
    if mean > 3 or std.max() > 10 or std.min() < 0.05:
        raise CheckFailedError(
            f"normalized latents must be near mean 0 and std 1, got means up to {mean:.2g} and "
            f"std {std.min():.2g} to {std.max():.2g}; wrong input range, weights or packing"
        )
    return f"means within {mean:.2g}, std {std.min():.2g} to {std.max():.2g}"


def check_fingerprint(trial: Trial) -> str:
    """8: equal encoders have equal fingerprints, and whatever changes values changes it."""
    spec = trial.spec
    base = spec.fingerprint()
    if trial.factory().spec.fingerprint() != base:
        raise CheckFailedError("fingerprint must be the same for two equal encoders")
    has_weights = any(module.state_dict() for module in find_modules(trial.encoder))
    if has_weights and not spec.weights_digest:
        raise CheckFailedError("weights_digest must cover the weights, is empty")
    for name, value in spec.knobs.items():
        changed = replace(spec, knobs={**spec.knobs, name: f"{value} changed"})
        if changed.fingerprint() == base:
            raise CheckFailedError(f"fingerprint must depend on knob {name}")
    for what, factory in trial.variants.items():
        if factory().spec.fingerprint() == base:
            raise CheckFailedError(f"fingerprint must change with {what}")
    return f"{len(spec.knobs)} knobs and {len(trial.variants)} variants tell themselves apart"


def check_indices(trial: Trial) -> str:
    """9: indices lie in the codebook, fit their dtype, and name their codes."""
    fields = [field for field in trial.spec.fields if field.kind == "indices"]
    if not fields:
        raise CheckSkippedError("leaves no indices")
    codebook = trial.spec.codebook
    if codebook is None:
        raise CheckFailedError("codebook must be declared where indices are stored")
    batch = trial.encode(trial.pixels(trial.buckets()[0]))
    for field in fields:
        indices, largest = batch[field.name], torch.iinfo(getattr(torch, field.dtype)).max
        if codebook.size - 1 > largest:
            raise CheckFailedError(
                f"dtype of {field.name} must hold {codebook.size - 1}, {field.dtype} ends at "
                f"{largest}"
            )
        if not 0 <= int(indices.min()) <= int(indices.max()) < codebook.size:
            raise CheckFailedError(
                f"{field.name} must be 0 to {codebook.size - 1}, got {int(indices.min())} to "
                f"{int(indices.max())}"
            )
        _check_round_trip(trial, field, indices)
    return f"within {codebook.size} entries"


def _check_round_trip(trial: Trial, field: Field, indices: torch.Tensor) -> None:
    encoder = trial.encoder
    if not isinstance(encoder, QuantizingEncoder):
        return
    codes = encoder.codes_from_indices(indices.to(encoder.device))
    back = encoder.indices_from_codes(codes).cpu()
    if not torch.equal(back.long(), indices.long()):
        raise CheckFailedError(f"{field.name} must come back from their codes, did not")


def check_neighbours(trial: Trial) -> str:
    """10: at a fixed batch shape a row's bits depend on that row alone."""
    if trial.spec.is_batch_coupled:
        raise CheckSkippedError("declared batch-coupled: it runs with batches of one")
    num_rows = trial.batch_size
    if num_rows == 1:
        raise CheckSkippedError("takes one row a batch")
    pixels = trial.pixels(trial.buckets()[0], num_rows=num_rows)
    batch = trial.encode(pixels)
    grey = sum(trial.spec.input_range) / 2
    for row in range(num_rows):
        blanked = torch.full_like(pixels, grey)
        blanked[row] = pixels[row]
        expected = {name: values[row] for name, values in batch.items()}
        alone = {name: values[row] for name, values in trial.encode(blanked).items()}
        require_same_bits(alone, expected, what=f"row {row} among grey neighbours")
    moved = trial.encode(pixels.roll(1, dims=0))
    rolled = {name: values.roll(1, dims=0) for name, values in batch.items()}
    require_same_bits(moved, rolled, what="rows at other positions")
    return f"same bits in batches of {num_rows}, whatever the neighbours and the position"
