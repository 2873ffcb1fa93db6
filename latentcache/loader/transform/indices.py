"""What a batch holds of a column of indices: numbers to index with, as stored, or vectors.

Dimension letters: B batch, D length of a vector, K entries of a codebook.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch

from latentcache.core.errors import ConfigError
from latentcache.loader.transform.normalizer import primary_field
from latentcache.store import ColumnView

IndexForm = Literal["int64", "stored", "vectors"]
"""``int64`` is ready to index with, ``stored`` is the smallest dtype, which torch may not take."""


def checked_forms(given: Any) -> IndexForm | dict[str, IndexForm]:
    """Return a form, or forms by column, as they were given.

    Raises:
        ConfigError: One is none.
    """
    forms = given if isinstance(given, Mapping) else {"": given}
    for form in forms.values():
        if form not in get_args(IndexForm):
            known = ", ".join(get_args(IndexForm))
            raise ConfigError(f"indices must be one of {known}, got {form!r}; or one by column")
    return dict(given) if isinstance(given, Mapping) else given


class IndexColumns:
    """Makes what was asked for of indices; holds the tables of those that become vectors."""

    def __init__(
        self,
        views: Mapping[str, Sequence[ColumnView]],
        asked: IndexForm | Mapping[str, IndexForm] = "int64",
        device: torch.device | None = None,
    ) -> None:
        """Read the tables that are needed.

        Args:
            views: Of each encoded column, in each source.
            asked: A form, for all columns of indices or by column.
            device: Where vectors are looked up.

        Raises:
            ConfigError: A name is of no column of indices, or its store has no table.
        """
        of_indices = {
            name: each for name, each in views.items() if primary_field(each[0]).kind == "indices"
        }
        if isinstance(asked, Mapping):
            for name in asked:
                if name not in of_indices:
                    had = ", ".join(of_indices) or "none"
                    raise ConfigError(
                        f"indices must name columns of indices that are asked for ({had}), got "
                        f"{name!r}; leave it out"
                    )
            self.forms = {name: asked.get(name, "int64") for name in of_indices}
        else:
            self.forms = dict.fromkeys(of_indices, asked)
        self._tables = {
            name: _table(name, of_indices[name][0]).to(device)
            for name, form in self.forms.items()
            if form == "vectors"
        }

    def apply(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Return a batch of a column's stored values as it was asked for.

        Args:
            name: Of the column.
            values: Stored indices [B, ...], or what another column holds, which stays as it is.
        """
        form = self.forms.get(name)
        if form is None or form == "stored":
            return values
        # torch can neither index, embed nor add with uint16, and takes uint8 for a mask.
        indices = values.long()
        if form == "int64":
            return indices
        vectors = torch.nn.functional.embedding(indices, self._tables[name])
        return vectors.movedim(-1, 1).contiguous()

    def shape(self, name: str, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape that one sample of a column has in a batch."""
        table = self._tables.get(name)
        return stored if table is None else (table.shape[1], *stored)

    def asked_json(self) -> dict[str, str]:
        """Return the forms that are not the default, as plain values."""
        return {name: form for name, form in sorted(self.forms.items()) if form != "int64"}


def _table(name: str, view: ColumnView) -> torch.Tensor:
    """Return a column's vectors [K, D].

    Raises:
        ConfigError: There are none; says how they come.
    """
    told = view.record.spec.get("codebook") or {}
    if told.get("num_codebooks", 1) != 1:
        raise ConfigError(
            f"indices must be int64 or stored for {name}, whose {told['num_codebooks']} codebooks "
            "have no one table; ask for int64 and look them up in the training"
        )
    table = view.codebook()
    if table is None:
        why = (
            "run the same latentcache encode again: it adds the table (resources.codebook_mib says "
            "up to which size)"
            if told.get("digest")
            else "its encoder has no vectors, train on int64"
        )
        raise ConfigError(
            f"indices must be int64 or stored for {name}, as the store has no table of its "
            f"codebook; {why}"
        )
    return torch.from_numpy(table.copy())
