"""Each planted fault is found by its own check and by no other."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from latentcache.core.errors import EncoderError
from latentcache.core.fields import Field
from latentcache.encoders.dct_video import DctVideoEncoder
from latentcache.encoders.frame_chunks import GroupStream
from latentcache.encoders.load_options import EncoderOptions
from latentcache.encoders.spec import (
    Codebook,
    Encoder,
    EncoderSpec,
    Normalizer,
    NormalizerOp,
    SampleMeta,
)
from latentcache.testing.contract import CHECKS, EncoderContract, run_contract
from latentcache.testing.fakes import BatchCoupledEncoder, FakeEncoder, GaussianEncoder

Fields = list[dict[str, torch.Tensor]]
Metas = Sequence[SampleMeta]


def small_video() -> DctVideoEncoder:
    knobs = {"keep_luma": 3, "keep_chroma": 1, "motion_luma": 1, "motion_chroma": 1}
    return DctVideoEncoder(EncoderOptions(device="cpu", knobs=knobs))


class ModuleEncoder(FakeEncoder):
    """A well-behaved encoder with weights, for faults of modules and digests."""

    def __init__(self, weight: float = 1.0) -> None:
        self.module = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Conv2d(3, 3, 1)).eval()
        for parameter in self.module.parameters():
            torch.nn.init.constant_(parameter, weight)
        self.weight = weight
        super().__init__(EncoderOptions(device="cpu"))

    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), weights_digest=f"{self.weight}")

    def encode_row(self, pixels_CHW: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"z": self.module(super().encode_row(pixels_CHW)["z"])}


class WrongFactor(FakeEncoder):
    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), spatial_factor=(4, 4))


class TakesAnySize(FakeEncoder):
    def encode(self, pixels: torch.Tensor, metas: Metas) -> Fields:
        height, width = (edge // 8 * 8 for edge in pixels.shape[-2:])
        return super().encode(pixels[..., :height, :width], metas)


class PromisesOddSizes(TakesAnySize):
    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), multiple_of=(1, 1))


class LeftInTraining(ModuleEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.module.train()


class Noisy(FakeEncoder):
    def encode_row(self, pixels_CHW: torch.Tensor) -> dict[str, torch.Tensor]:
        z = super().encode_row(pixels_CHW)["z"]
        return {"z": z + torch.rand(z.shape)}


class NonFinite(FakeEncoder):
    def encode_row(self, pixels_CHW: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"z": super().encode_row(pixels_CHW)["z"] / 0.0}


class DependsOnBatchSize(FakeEncoder):
    def encode(self, pixels: torch.Tensor, metas: Metas) -> Fields:
        return super().encode(pixels * (1 + 0.01 * len(pixels)), metas)


class IgnoresMaxBatch(FakeEncoder):
    def encode(self, pixels: torch.Tensor, metas: Metas) -> Fields:
        self.spec = replace(self.spec, max_batch=None)
        try:
            return super().encode(pixels, metas)
        finally:
            self.spec = replace(self.spec, max_batch=2)

    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), max_batch=2)


class LastBitsFromNeighbours(FakeEncoder):
    def encode(self, pixels: torch.Tensor, metas: Metas) -> Fields:
        return super().encode(pixels + 1e-6 * pixels.mean(), metas)


class NotCausal(DctVideoEncoder):
    def encode(self, pixels: torch.Tensor, metas: Metas) -> Fields:
        rows = super().encode(pixels, metas)
        for row in rows:
            row["z"] = row["z"] - row["z"][:, -1:] * (pixels.shape[2] < 9)
        return rows


class ForgetfulStream(GroupStream):
    def push(self, frames: torch.Tensor) -> dict[str, torch.Tensor] | None:
        fields = super().push(frames)
        self._pending = torch.zeros_like(self._pending)
        return fields


class Forgetful(DctVideoEncoder):
    def open(self, height_px: int, width_px: int) -> ForgetfulStream:
        return ForgetfulStream(self.spec, self._coder, self._run, (height_px, width_px))


class LenientStream(GroupStream):
    def close(self) -> None:
        return None


class Lenient(DctVideoEncoder):
    def open(self, height_px: int, width_px: int) -> LenientStream:
        return LenientStream(self.spec, self._coder, self._run, (height_px, width_px))


class StateSurvivesErrors(ModuleEncoder):
    """Remembers a failed call, and ``reset`` does not make it forget."""

    def __init__(self) -> None:
        super().__init__()
        self.carry = 0.0

    def encode(self, pixels: torch.Tensor, metas: Metas) -> Fields:
        carry, self.carry = self.carry, 1.0
        rows = super().encode(pixels, metas)
        self.carry = 0.0
        return [{"z": row["z"] + carry} for row in rows]


class OneInputForAll(FakeEncoder):
    """Declares that threads may share it, yet keeps its input where both write it."""

    def __init__(self) -> None:
        super().__init__(EncoderOptions(device="cpu"))
        self.both = threading.Barrier(2)

    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), is_reentrant=True)

    def encode(self, pixels: torch.Tensor, metas: Metas) -> Fields:
        self.pixels = pixels
        if threading.current_thread() is not threading.main_thread():
            self.both.wait()
        return super().encode(self.pixels, metas)


class OpensWhatItCannotStream(DctVideoEncoder):
    def __init__(self) -> None:
        super().__init__(EncoderOptions(device="cpu"))
        self.spec = replace(self.spec, streaming="none")


class SharesOneStream(DctVideoEncoder):
    """Every clip goes through one stream, as with state in a module's attributes."""

    def __init__(self) -> None:
        super().__init__(EncoderOptions(device="cpu"))
        self.stream = super().open(32, 40)

    def open(self, *_: int) -> GroupStream:
        return self.stream


def with_normalizer(*ops: NormalizerOp) -> Callable[[], Encoder]:
    def make() -> Encoder:
        encoder = FakeEncoder()
        encoder.spec = replace(encoder.spec, normalizer=Normalizer(ops=ops, source="config"))
        return encoder

    return make


class Quantizing(FakeEncoder):
    """Brightness in 256 steps; ``size`` and ``step`` plant faults."""

    size, step = 256, 1

    def make_spec(self) -> EncoderSpec:
        field = Field(name="indices", kind="indices", axes="HW", channels=None, dtype="uint8")
        spec = replace(super().make_spec(), fields=(field,), posterior="vq")
        return replace(spec, codebook=Codebook(size=self.size))

    def encode_row(self, pixels_CHW: torch.Tensor) -> dict[str, torch.Tensor]:
        brightness = super().encode_row(pixels_CHW)["z"].mean(dim=0)
        return {"indices": ((brightness + 1) * 127.5).round().to(torch.int64)}

    def codes_from_indices(self, indices: torch.Tensor) -> torch.Tensor:
        return indices / 127.5 - 1

    def indices_from_codes(self, codes: torch.Tensor) -> torch.Tensor:
        return ((codes + 1) * 127.5).round().to(torch.int64) * self.step


class IndexBeyondCodebook(Quantizing):
    size = 16


class DtypeTooNarrow(Quantizing):
    size = 300


class CodesDoNotReturn(Quantizing):
    step = 2


FAULTS: list[tuple[str, Callable[[], Encoder], str]] = [
    ("wrong-factor", WrongFactor, "geometry"),
    ("takes-any-size", TakesAnySize, "geometry"),
    ("promises-odd-sizes", PromisesOddSizes, "geometry"),
    ("left-in-training", LeftInTraining, "determinism"),
    ("noisy", Noisy, "determinism"),
    ("non-finite", NonFinite, "determinism"),
    ("depends-on-batch-size", DependsOnBatchSize, "batch"),
    ("ignores-max-batch", IgnoresMaxBatch, "batch"),
    ("batch-coupled", BatchCoupledEncoder, "batch"),
    ("not-causal", NotCausal, "temporal"),
    ("forgetful-stream", Forgetful, "streaming"),
    ("lenient-stream", Lenient, "streaming"),
    ("opens-what-it-cannot-stream", OpensWhatItCannotStream, "streaming"),
    ("shares-one-stream", SharesOneStream, "streaming"),
    ("one-input-for-all-threads", OneInputForAll, "threads"),
    ("state-survives-errors", StateSurvivesErrors, "hygiene"),
    ("divides-by-zero", with_normalizer(NormalizerOp(op="divide", values=(0.0,))), "normalizer"),
    ("too-few-values", with_normalizer(NormalizerOp(op="add", values=(1.0, 2.0))), "normalizer"),
    ("index-beyond-codebook", IndexBeyondCodebook, "indices"),
    ("dtype-too-narrow", DtypeTooNarrow, "indices"),
    ("codes-do-not-return", CodesDoNotReturn, "indices"),
    ("last-bits-from-neighbours", LastBitsFromNeighbours, "neighbours"),
]


@pytest.mark.parametrize(
    ("factory", "expected"), [pytest.param(f, check, id=name) for name, f, check in FAULTS]
)
def test_fault_is_found_by_its_own_check_alone(
    factory: Callable[[], Encoder], expected: str
) -> None:
    failed = [result.name for result in run_contract(factory) if result.outcome == "failed"]
    assert failed == [expected]


def test_every_check_has_a_planted_fault() -> None:
    planted = {check for _, _, check in FAULTS} | {"fingerprint"}
    assert planted == {check.name for check in CHECKS}


class BlindToWeights(ModuleEncoder):
    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), weights_digest="always the same")


class WithoutDigest(ModuleEncoder):
    def make_spec(self) -> EncoderSpec:
        return replace(super().make_spec(), weights_digest="")


class Unstable(FakeEncoder):
    made = 0

    def make_spec(self) -> EncoderSpec:
        Unstable.made += 1
        return replace(super().make_spec(), knobs={"made": Unstable.made})


@pytest.mark.parametrize(
    ("factory", "variants"),
    [
        pytest.param(BlindToWeights, {"a weight": lambda: BlindToWeights(2.0)}, id="weights"),
        pytest.param(WithoutDigest, {}, id="no-digest"),
        pytest.param(Unstable, {}, id="unstable"),
    ],
)
def test_blind_fingerprint_is_found_by_its_own_check_alone(
    factory: Callable[[], Encoder], variants: Mapping[str, Callable[[], Encoder]]
) -> None:
    results = run_contract(factory, variants=variants)
    assert [result.name for result in results if result.outcome == "failed"] == ["fingerprint"]


def test_published_normalization_is_held_against_a_real_sample() -> None:
    factory = with_normalizer(NormalizerOp(op="multiply", values=(1000.0,)))
    sample = torch.rand(2, 3, 64, 64) * 2 - 1
    (result,) = [r for r in run_contract(factory, sample_pixels=sample) if r.name == "normalizer"]
    assert result.outcome == "failed"
    assert "wrong input range" in result.detail


def test_encoder_that_raises_fails_a_check_instead_of_the_suite() -> None:
    class Broken(FakeEncoder):
        def encode(self, pixels: torch.Tensor, metas: Metas) -> Fields:
            raise EncoderError(f"broken for {len(pixels)} rows with {len(metas)} metas")

    results = run_contract(Broken)
    assert results[0].outcome == "failed"
    assert "broken" in results[0].detail


def test_declared_batch_coupling_is_accepted() -> None:
    class Declared(BatchCoupledEncoder):
        def make_spec(self) -> EncoderSpec:
            return replace(super().make_spec(), is_batch_coupled=True)

    assert all(result.outcome != "failed" for result in run_contract(Declared))


class TestWellBehavedFake(EncoderContract):
    def make_encoder(self) -> Encoder:
        return FakeEncoder()


class TestGaussianFake(EncoderContract):
    def make_encoder(self) -> Encoder:
        return GaussianEncoder()


class TestQuantizingFake(EncoderContract):
    def make_encoder(self) -> Encoder:
        return Quantizing()


class TestModuleFake(EncoderContract):
    def make_encoder(self) -> Encoder:
        return ModuleEncoder()

    def make_variants(self) -> Mapping[str, Callable[[], Encoder]]:
        return {"a weight": lambda: ModuleEncoder(0.5)}
