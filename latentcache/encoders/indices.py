"""Integers that are stored: none may come back as another one.

A cast wraps without a word: index 300 of a codebook of 512 becomes 44 in ``uint8``, and -1,
which some quantisers give for a code they dropped, the last code of all.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from latentcache.core.errors import EncoderError
from latentcache.core.fields import DTYPE_BYTES, FLOAT_DTYPES, Field
from latentcache.encoders.spec import Codebook, EncoderSpec

if TYPE_CHECKING:
    import torch


def integer_span(dtype: str) -> tuple[int, int]:
    """Return the smallest and the largest value of an integer storage dtype."""
    bits = 8 * DTYPE_BYTES[dtype]
    return (0, 2**bits - 1) if dtype.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def index_dtype(codebook: Codebook) -> str:
    """Return the smallest unsigned dtype of format 1 that holds every index, else ``int64``."""
    fitting = ("uint8", "uint16", "int32", "int64")
    return next(name for name in fitting if codebook.size - 1 <= integer_span(name)[1])


def check_index_fields(spec: EncoderSpec) -> None:
    """Refuse indices in a dtype that cannot hold them all.

    Raises:
        EncoderError: It is a float dtype, or too narrow for the codebook.
    """
    for field in spec.fields:
        if field.kind != "indices":
            continue
        size = 1 if spec.codebook is None else spec.codebook.size
        if field.dtype in FLOAT_DTYPES or integer_span(field.dtype)[1] < size - 1:
            best = "int64" if spec.codebook is None else index_dtype(spec.codebook)
            of = "" if spec.codebook is None else f" of a codebook of {size}"
            raise EncoderError(
                f"dtype of field {field.name} must hold every index{of}, got {field.dtype} "
                f"({spec.name}); declare {best}"
            )


def integer_fault(
    row: "Mapping[str, torch.Tensor]", fields: Sequence[Field], codebook: Codebook | None
) -> str:
    """Return which value of a row would be stored as another one, "" if none is.

    Args:
        row: The encoder's fields of one sample.
        fields: As they are to be stored.
        codebook: Of the indices, if it is declared.
    """
    for field in fields:
        values = row.get(field.name)
        if values is None or field.dtype in FLOAT_DTYPES or not values.numel():
            continue
        if values.is_floating_point():
            return f"{values.dtype} for field {field.name}, which is stored as {field.dtype}"
        low, high = integer_span(field.dtype)
        rule = f"what {field.dtype} holds"
        if field.kind == "indices" and codebook is not None:
            low, high, rule = 0, codebook.size - 1, f"its codebook of {codebook.size}"
        wide = values.long()
        least, most = int(wide.min()), int(wide.max())
        if least < low or most > high:
            wrong = least if least < low else most
            return f"{wrong} in field {field.name}, outside {rule}"
    return ""
