"""A store of indices: drawn pictures through a tiny tokenizer of random weights."""

from pathlib import Path

from latentcache.plan import PlanOptions
from latentcache.runner import (
    EncodeOptions,
    EncodeRequest,
    PlanRequest,
    Resources,
    SilentReporter,
    build,
)
from latentcache.testing.drawn import write_drawn_corpus
from tests.encoders.tiny_tokenizers import save_tokenizer

NUM_PICTURES, SIZE_PX = 64, 32


def make_index_store(home: Path, name: str = "vq", *, codebook_mib: int = 64) -> Path:
    """Return a store of 64 square pictures as indices of 300 vectors of 4 numbers.

    Args:
        home: An empty folder; tokenizer and pictures lie in it too.
        name: Of the tokenizer.
        codebook_mib: See ``Resources``.
    """
    write_drawn_corpus(home / "corpus", NUM_PICTURES, seed=3, size_px=SIZE_PX)
    (home / name).mkdir()
    save_tokenizer(name, home / name)
    resources = Resources(num_actors=1, codebook_mib=codebook_mib)
    build(
        str(home / "store"),
        PlanRequest(
            corpus_url=str(home / "corpus"),
            options=PlanOptions(resolution_px=SIZE_PX, square=True, rows_per_shard=16),
            resources=resources,
        ),
        EncodeRequest(
            column="latents",
            encode=EncodeOptions(encoder=f"{name}:{home / name}", is_offline=True),
            resources=resources,
        ),
        reporter=SilentReporter(),
    )
    return home / "store"
