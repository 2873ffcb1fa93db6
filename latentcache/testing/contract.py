"""The encoder contract: what every adapter must keep, runnable on any encoder.

``run_contract(factory)`` returns one result per check. In a test-suite, subclass
``EncoderContract`` and say how the encoder is made:

    class TestMyEncoder(EncoderContract):
        def make_encoder(self) -> Encoder:
            return MyEncoder()
"""

import unittest
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from latentcache.core.errors import LatentCacheError
from latentcache.encoders import Encoder
from latentcache.testing import checks, checks_time
from latentcache.testing.trial import (
    CheckFailedError,
    CheckSkippedError,
    EncoderFactory,
    Trial,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What one check found.

    Attributes:
        name: ``geometry``, ``determinism`` ...
        outcome: A check is skipped where it does not apply, or where one that it builds
            on has failed.
        detail: What was seen, what is wrong, or why it was skipped.
    """

    name: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str


@dataclass(frozen=True, slots=True)
class _Check:
    name: str
    run: Callable[[Trial], str]
    builds_on: tuple[str, ...] = ()


CHECKS = (
    _Check("geometry", checks.check_geometry),
    _Check("determinism", checks.check_determinism, ("geometry",)),
    _Check("batch", checks.check_batch_size, ("determinism",)),
    _Check("temporal", checks_time.check_temporal, ("determinism",)),
    _Check("streaming", checks_time.check_streaming, ("determinism",)),
    _Check("hygiene", checks.check_hygiene, ("determinism",)),
    _Check("normalizer", checks.check_normalizer, ("determinism",)),
    _Check("fingerprint", checks.check_fingerprint),
    _Check("indices", checks.check_indices, ("determinism",)),
    _Check("neighbours", checks.check_neighbours, ("batch",)),
    _Check("threads", checks_time.check_threads, ("determinism",)),
)
"""In order; a check whose base failed (or was skipped for its base) says nothing new."""


_ENCODER_ERRORS = (
    LatentCacheError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What a broken adapter raises in a call that should succeed."""


def run_contract(
    factory: EncoderFactory,
    *,
    variants: Mapping[str, EncoderFactory] | None = None,
    sample_pixels: torch.Tensor | None = None,
) -> list[CheckResult]:
    """Return the result of every check, in order.

    Args:
        factory: Makes the encoder; called several times, and must make equal ones.
        variants: Make encoders that differ in one thing that changes values, under a word
            that says what; without them the fingerprint is checked for knobs only.
        sample_pixels: Real pixels in the encoder's range and layout, for the published
            normalization.
    """
    trial = Trial(factory=factory, variants=variants or {}, sample_pixels=sample_pixels)
    results: list[CheckResult] = []
    unsound: set[str] = set()
    for check in CHECKS:
        failed = [name for name in check.builds_on if name in unsound]
        if failed:
            unsound.add(check.name)
            result = CheckResult(
                name=check.name, outcome="skipped", detail=f"builds on {failed[0]}, which failed"
            )
        else:
            result = _run_check(check, trial)
            if result.outcome == "failed":
                unsound.add(check.name)
        results.append(result)
    return results


def _run_check(check: _Check, trial: Trial) -> CheckResult:
    try:
        return CheckResult(name=check.name, outcome="passed", detail=check.run(trial))
    except CheckSkippedError as skipped:
        return CheckResult(name=check.name, outcome="skipped", detail=str(skipped))
    except CheckFailedError as failed:
        return CheckResult(name=check.name, outcome="failed", detail=str(failed))
    except _ENCODER_ERRORS as error:
        detail = f"the encoder raised {type(error).__name__}: {error}"
        return CheckResult(name=check.name, outcome="failed", detail=detail)


class EncoderContract:
    """The contract as tests; subclass it under a name that starts with ``Test``."""

    _results: ClassVar[dict[type, dict[str, CheckResult]]] = {}

    def make_encoder(self) -> Encoder:
        """Return the encoder under test; two calls must return equal ones."""
        raise NotImplementedError

    def make_variants(self) -> Mapping[str, EncoderFactory]:
        """Return factories of encoders with another weight, buffer or knob."""
        return {}

    def make_sample(self) -> torch.Tensor | None:
        """Return real pixels for the published normalization, or None."""
        return None

    def result(self, name: str) -> CheckResult:
        """Return the result of one check; all run once per class."""
        cached = self._results.get(type(self))
        if cached is None:
            found = run_contract(
                self.make_encoder, variants=self.make_variants(), sample_pixels=self.make_sample()
            )
            cached = self._results[type(self)] = {result.name: result for result in found}
        return cached[name]

    def _require(self, name: str) -> None:
        result = self.result(name)
        if result.outcome == "skipped":
            raise unittest.SkipTest(result.detail)  # pytest knows it, and need not be installed
        assert result.outcome == "passed", result.detail

    def test_geometry_is_as_declared(self) -> None:
        """Check 1."""
        self._require("geometry")

    def test_two_calls_give_the_same_bits(self) -> None:
        """Check 2."""
        self._require("determinism")

    def test_batch_size_does_not_matter(self) -> None:
        """Check 3."""
        self._require("batch")

    def test_time_behaves_as_declared(self) -> None:
        """Check 4."""
        self._require("temporal")

    def test_streaming_equals_the_whole_clip(self) -> None:
        """Check 5."""
        self._require("streaming")

    def test_errors_leave_no_state(self) -> None:
        """Check 6."""
        self._require("hygiene")

    def test_normalizer_can_be_undone(self) -> None:
        """Check 7."""
        self._require("normalizer")

    def test_fingerprint_covers_what_changes_values(self) -> None:
        """Check 8."""
        self._require("fingerprint")

    def test_indices_fit_their_codebook(self) -> None:
        """Check 9."""
        self._require("indices")

    def test_neighbours_do_not_matter(self) -> None:
        """Check 10."""
        self._require("neighbours")

    def test_threads_do_not_matter(self) -> None:
        """Check 11."""
        self._require("threads")
