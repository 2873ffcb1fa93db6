"""The demo's last part: three latent spaces of the same pictures, compared."""

from typing import TYPE_CHECKING

from latentcache.demo.demo_folder import DemoFolder
from latentcache.demo.narrator import Narrator
from latentcache.demo.photo_store import COLUMN, num_actors

if TYPE_CHECKING:
    from latentcache.compare import Comparison, Row
    from latentcache.demo.page.compared_facts import ComparedFacts

COARSE, TINY = "coarse", "tiny"
_COARSE_ENCODER = "dct:keep_luma=4,keep_chroma=1"
_NUM_SAMPLES, _NUM_DECODED, _NUM_DEEP = 240, 60, 6
_SHOWN = (
    "psnr_db",
    "ssim",
    "high_frequency_share",
    "rotation_error",
    "noise_psnr_db",
    "knn",
    "bytes_per_sample",
)
"""On the demo's page; the comparison's own has all of them."""


def compare_spaces(folder: DemoFolder, narrator: Narrator, *, num_steps: int) -> "ComparedFacts":
    """Encode the small pictures in two further ways, and compare the three.

    Args:
        folder: Of the demo.
        narrator: Told each step.
        num_steps: That the autoencoder is trained for.
    """
    from latentcache.demo.threads import torch_threads
    from latentcache.demo.tiny_autoencoder import train_autoencoder

    with narrator.step(f"Train a tiny autoencoder for {num_steps} steps"), torch_threads(1):
        _, psnr_db = train_autoencoder(folder.autoencoder, folder.class_corpus, num_steps=num_steps)
        narrator.say(f"PSNR {psnr_db:.1f} dB of crops, in {folder.autoencoder}")
    with narrator.step("Encode the small pictures with it, and with a coarser dct, in one pass"):
        _encode(folder, narrator)
    with narrator.step(f"Compare {COLUMN}, {COARSE} and {TINY}"):
        found = _compare(folder)
        narrator.say(f"{folder.comparison}: {len(found.rows)} figures, each with its interval")
    return _facts(found, folder)


def _encode(folder: DemoFolder, narrator: Narrator) -> None:
    from latentcache import runner
    from latentcache.terminal import bytes_text, reporting

    requests = [
        runner.EncodeRequest(
            column=column,
            encode=runner.EncodeOptions(encoder=encoder, is_offline=True),
            resources=runner.Resources(device="cpu", num_actors=num_actors()),
        )
        for column, encoder in ((COARSE, _COARSE_ENCODER), (TINY, f"tiny:{folder.autoencoder}"))
    ]
    with reporting() as reporter:
        results = runner.encode_columns(str(folder.class_store), requests, reporter=reporter)
    sizes = [
        f"{request.column} {bytes_text(result.num_bytes)}"
        for request, result in zip(requests, results, strict=True)
    ]
    narrator.say(f"{results[0].encoded} samples: {', '.join(sizes)}")


def _compare(folder: DemoFolder) -> "Comparison":
    from latentcache.compare import (
        CompareOptions,
        LoadOptions,
        comparison_page,
        open_spaces,
        run_comparison,
    )

    spaces = open_spaces(
        str(folder.class_store),
        (COLUMN, COARSE, TINY),
        LoadOptions(device="cpu", is_offline=True),
    )
    options = CompareOptions(
        num_samples=_NUM_SAMPLES,
        num_decoded=_NUM_DECODED,
        num_deep=_NUM_DEEP,
        # It trains three models on each space, for minutes.
        probe=None,
    )
    found = run_comparison(spaces, options)
    folder.comparison.write_text(comparison_page(found), encoding="utf-8")
    return found


def _facts(found: "Comparison", folder: DemoFolder) -> "ComparedFacts":
    from latentcache.demo.page.compared_facts import ComparedFacts, ComparedFigure

    names = tuple(each.name for each in found.spaces)
    rows = {row.figure.name: row for row in found.rows}
    return ComparedFacts(
        page=folder.comparison.name,
        names=names,
        encoders=tuple(str(each.facts["encoder"]) for each in found.spaces),
        num_samples=found.num_samples,
        num_decoded=_NUM_DECODED,
        figures=tuple(
            ComparedFigure(
                title=rows[name].figure.title,
                unit=rows[name].figure.unit,
                cells=tuple(_cell(rows[name], each) for each in names),
                meaning=rows[name].figure.meaning,
            )
            for name in _SHOWN
            if name in rows
        ),
    )


def _cell(row: "Row", name: str) -> str:
    estimate = row.estimates.get(name)
    if estimate is None:
        return "\N{EN DASH}"
    return f"{estimate.value:.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"
