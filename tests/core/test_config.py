"""A recipe that is wrong is refused before any work, with the nearest right name."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from latentcache.core.config import config_from_mapping, read_toml
from latentcache.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class _Inner:
    rate: float = 1.0
    mode: Literal["fast", "safe"] = "safe"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError(f"rate must be at least 0, got {self.rate}")


@dataclass(frozen=True, kw_only=True)
class _Outer:
    corpus: str
    sizes: tuple[int, ...] = ()
    limit: int | None = None
    inner: _Inner = field(default_factory=_Inner)


def test_nested_tables_and_lists_become_frozen_dataclasses() -> None:
    values = {"corpus": "x", "sizes": [1, 2], "inner": {"rate": 2, "mode": "fast"}}
    config = config_from_mapping(_Outer, values, where="recipe")
    assert config == _Outer(corpus="x", sizes=(1, 2), inner=_Inner(rate=2.0, mode="fast"))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        pytest.param({"corpus": "x", "limt": 3}, "did you mean 'limit'", id="misspelt-key"),
        pytest.param({}, "key 'corpus' must be given", id="missing-key"),
        pytest.param({"corpus": 3}, "value must be text, got 3", id="wrong-type"),
        pytest.param({"corpus": "x", "limit": True}, "must be a number", id="flag-for-number"),
        pytest.param({"corpus": "x", "sizes": 3}, "must be a list", id="scalar-for-list"),
        pytest.param({"corpus": "x", "inner": 3}, "must be a table", id="scalar-for-table"),
        pytest.param({"corpus": "x", "inner": {"mode": "fats"}}, "'fast'", id="unknown-choice"),
        pytest.param({"corpus": "x", "inner": {"rate": -1}}, "at least 0", id="its-own-check"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config_from_mapping(_Outer, values, where="recipe")


def test_a_file_that_is_not_toml_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    with pytest.raises(ConfigError, match=r"recipe\.toml"):
        read_toml(path)
    path.write_text("a = = 1")
    with pytest.raises(ConfigError, match="valid TOML"):
        read_toml(path)
