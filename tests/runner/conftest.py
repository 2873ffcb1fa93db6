"""What the runner's tests share: drawn corpora, runs in this process, runs to be killed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    EncodeResult,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
)
from latentcache.store import Store
from latentcache.testing.drawn import marked_picture, write_drawn_corpus

RESOLUTION_PX = 64
ROWS_PER_SHARD = 16

Build = Callable[..., EncodeResult]


@pytest.fixture(scope="session")
def drawn_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 drawn pictures of several aspect ratios, with captions."""
    folder = tmp_path_factory.mktemp("drawn")
    write_drawn_corpus(folder, 120, seed=1, size_px=RESOLUTION_PX)
    return folder


@pytest.fixture(scope="session")
def build_store() -> Build:
    """A function that builds a store and returns the encode result.

    Workers are this machine's; Ray's where a Ray runs in this process (``local_ray``).
    """

    def run(
        corpus: Path,
        store: Path | str,
        encoder: str = "dct",
        *,
        resources: Resources | None = None,
        rows_per_shard: int = ROWS_PER_SHARD,
        **encode: object,
    ) -> EncodeResult:
        resources = resources or Resources()
        plan = PlanOptions(resolution_px=RESOLUTION_PX, rows_per_shard=rows_per_shard)
        options = EncodeOptions(encoder=encoder, **encode)  # type: ignore[arg-type]  # test shorthand
        _, result = build(
            str(store),
            PlanRequest(corpus_url=str(corpus), options=plan, resources=resources),
            EncodeRequest(column="latents", encode=options, resources=resources),
            reporter=SilentReporter(),
        )
        return result

    return run


@pytest.fixture(scope="session")
def chosen_digests() -> Callable[[Path | str], dict[str, tuple[str, str]]]:
    """A function that reads the tar and meta digests a store's newest snapshot serves."""

    def read(store: Path | str) -> dict[str, tuple[str, str]]:
        view = Store.open(str(store)).snapshot().columns["latents"]
        return {
            str(entry.unit.unit): (entry.tar.sha256 if entry.tar else "", entry.meta.sha256)
            for entry in view.units()
        }

    return read


@pytest.fixture(scope="session")
def marked_corpus(drawn_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn corpus with one more picture, on which faulty encoders misbehave."""
    folder = tmp_path_factory.mktemp("marked") / "corpus"
    shutil.copytree(drawn_corpus, folder)
    marked_picture(96, 96).save(folder / "marked.png")
    return folder


@pytest.fixture(scope="session")
def undisturbed(
    marked_corpus: Path, build_store: Build, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The store of a well-behaved encoder over the marked corpus."""
    store = tmp_path_factory.mktemp("undisturbed") / "store"
    build_store(marked_corpus, store, "latentcache.testing.fakes:FakeEncoder")
    return store


@pytest.fixture(scope="session")
def reference_store(
    drawn_corpus: Path, build_store: Build, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store that nothing disturbed, of the fakes' arithmetic."""
    store = tmp_path_factory.mktemp("reference") / "store"
    build_store(drawn_corpus, store, "latentcache.testing.fakes:FakeEncoder")
    return store


@pytest.fixture
def corpus(pristine: Path) -> Path:
    """The corpus in ``now`` of a module's ``pristine``, as it is in ``then``: tests change it."""
    shutil.rmtree(pristine / "now")
    shutil.copytree(pristine / "then", pristine / "now")
    return pristine / "now" / "corpus"


@pytest.fixture
def store(corpus: Path) -> Path:
    """The store beside ``corpus``, put back with it."""
    return corpus.parent / "store"
