"""An index is stored as it is, or not at all."""

from dataclasses import replace

import pytest
import torch

from latentcache.core.errors import EncoderError
from latentcache.core.fields import Field
from latentcache.encoders import Codebook, EncoderSpec, index_dtype, integer_fault, stored_fields
from latentcache.encoders.indices import check_index_fields
from latentcache.testing.fakes import FakeEncoder


def spec_of(dtype: str, codebook: Codebook | None) -> EncoderSpec:
    field = Field(name="indices", kind="indices", axes="HW", channels=None, dtype=dtype)
    return replace(FakeEncoder().spec, fields=(field,), posterior="vq", codebook=codebook)


@pytest.mark.parametrize(
    ("dtype", "size"), [("uint8", 512), ("int8", 256), ("uint16", 70_000), ("float16", 16)]
)
def test_a_dtype_too_narrow_for_the_codebook_is_refused_at_load(dtype: str, size: int) -> None:
    with pytest.raises(EncoderError, match=f"must hold every index of a codebook of {size}"):
        stored_fields(spec_of(dtype, Codebook(size=size)), "moments")


@pytest.mark.parametrize(
    ("size", "dtype"), [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65_537, "int32")]
)
def test_the_dtype_named_is_the_smallest_that_fits(size: int, dtype: str) -> None:
    assert index_dtype(Codebook(size=size)) == dtype
    check_index_fields(spec_of(dtype, Codebook(size=size)))


@pytest.mark.parametrize(
    ("values", "dtype", "size", "wrong"),
    [
        pytest.param([0, 511], "uint16", 512, None, id="both-ends"),
        pytest.param([0, 512], "uint16", 512, 512, id="past-the-end"),
        pytest.param([-1, 3], "uint16", 512, -1, id="dropped-code"),
        pytest.param([0, 70_000], "uint16", None, 70_000, id="no-codebook-declared"),
        pytest.param([-128, 127], "int8", None, None, id="signed"),
        pytest.param([2**40, 0], "int64", None, None, id="wide"),
    ],
)
def test_an_index_that_would_become_another_is_named(
    values: list[int], dtype: str, size: int | None, wrong: int | None
) -> None:
    codebook = None if size is None else Codebook(size=size)
    fields = spec_of("int64", codebook).fields
    stored = (replace(fields[0], dtype=dtype),)
    fault = integer_fault({"indices": torch.tensor([values])}, stored, codebook)
    assert fault.startswith(str(wrong)) if wrong is not None else fault == ""


def test_integers_that_come_as_floats_are_refused() -> None:
    stored = spec_of("uint8", Codebook(size=4)).fields
    assert "float32" in integer_fault({"indices": torch.tensor([[1.5]])}, stored, None)
