"""Python blocks of the page about loading run, on the quickstart's store."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from latentcache.loader import LatentLoader
from latentcache.train import DiT, DiTConfig
from tests.docs.quickstart_store import CLASSES, build_store

DOCS = Path(__file__).resolve().parents[2] / "docs"


class EnoughError(Exception):
    """An endless loop has gone round often enough."""


def blocks(page: str) -> dict[str, str]:
    """Return a page's Python blocks by the heading above them."""
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = {}
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        heading = re.findall(r"^#+ (.*)$", text[: match.start()], re.MULTILINE)[-1]
        assert heading not in found, "a heading each, so that a test can name it"
        found[heading] = match[1]
    return found


def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(code, "block", "exec"), names)
    return names


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("snippets")
    build_store(folder)
    return folder


def test_the_page_about_loading_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    page, save = blocks("loader"), torch.save
    saved: list[Any] = []

    def save_twice(*arguments: Any) -> None:
        saved.append(arguments)
        save(*arguments)
        if len(saved) == 2:
            raise EnoughError

    monkeypatch.setattr(torch, "save", save_twice)
    names: dict[str, Any] = {}
    with pytest.raises(EnoughError):
        run(page.pop("Loading latents"), names)
    last = names["batch"]
    assert names["captions"].count(None) + sum(
        text.startswith(CLASSES) for text in names["captions"] if text
    ) == len(last["row"])
    loader = names["loader"]
    fresh = {"loader": LatentLoader("build/store", **_like(loader)), "torch": torch}
    run(page.pop("Resuming"), fresh)
    assert next(iter(fresh["loader"]))["row"].tolist() == next(iter(loader))["row"].tolist()
    mixed = run(page.pop("Sources"), {})["loader"]
    weights = [float(member.weight) for member in mixed._run.mixture.members]
    assert len(weights) >= 2
    channels = next(iter(loader.shapes().values()))["latents"][1]
    model = DiT(DiTConfig(channels=channels, width=16, depth=1, num_heads=2))
    found = run(page.pop("Validation"), {"torch": torch, "model": model})
    assert float(found["validate"]()) == float(found["validate"]()) > 0
    assert not page, f"blocks that no test runs: {list(page)}"


def _like(loader: LatentLoader) -> dict[str, Any]:
    columns = list(loader._run.recipe.columns)
    return {"columns": columns, "global_batch_size": loader._run.mixture.members[0].batch_size}
