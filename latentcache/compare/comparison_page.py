"""The page of a comparison: figures with their meaning, pictures, curves. One file, no scripts."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from markupsafe import Markup

from latentcache.compare.charts import STROKES, chart
from latentcache.compare.comparison import Comparison, Row
from latentcache.compare.looks.deep_values import NOISE_LEVELS
from latentcache.compare.looks.latent_look import HISTOGRAM_EDGES
from latentcache.compare.measured import Measured
from latentcache.compare.metrics.interval import Difference, Estimate, Floats
from latentcache.compare.metrics.latent_values import eigenvalues
from latentcache.compare.metrics.spectrum import RING_CENTRES, ring_means
from latentcache.report import Rgb, Section, mosaic, page, section

_PACKAGE = "latentcache.compare"
_TITLES = {
    "fidelity": "Fidelity",
    "modelability": "Modelability",
    "semantics": "Semantics",
    "cost": "Cost",
}
_LEADS = {
    "fidelity": "How close the stored latents, decoded, come to the pixels they were made of.",
    "modelability": "How hard the latents may be for a generator to learn.",
    "semantics": "Whether what belongs together lies together.",
    "cost": "Bytes, time and tokens.",
}
_CROSSED = 6


class Sheet(NamedTuple):
    """One sample of all spaces: titled pictures in a row."""

    title: str
    pictures: Sequence[tuple[str, Rgb]]


class Part(NamedTuple):
    """Pictures or a curve below a section's table."""

    title: str
    caption: str
    svg: Markup | None = None
    sheets: Sequence[Sheet] = ()
    strips: Sequence[tuple[str, Sequence[Rgb]]] = ()
    grids: Sequence[tuple[str, Rgb]] = ()


def comparison_page(found: Comparison) -> str:
    """Return the page as HTML; it holds its pictures and needs no network."""
    names = [each.name for each in found.spaces]
    sections = [_spaces_section(found)]
    for name in _TITLES:
        rows = [row for row in found.rows if row.figure.section == name]
        if rows or name in found.notes:
            sections.append(_figures_section(found, name, rows))
    lead = (
        f"{', '.join(names)} on the same {found.num_samples:,} samples. Each figure has the "
        "interval that holds it in 95 % of draws of other samples like these; what differs by "
        "less is called equal. There is no total and no winner: which of these matters is for "
        "whoever trains to say."
    )
    tiles = [(f"{found.num_samples:,}", "samples that all hold", False)]
    tiles += [(each.name, str(each.facts["encoder"]), False) for each in found.spaces[:4]]
    return page("Latent spaces side by side", lead, tiles, sections)


def _spaces_section(found: Comparison) -> Section:
    legend = [
        (each.name, STROKES[number % len(STROKES)], each.facts)
        for number, each in enumerate(found.spaces)
    ]
    return section(
        "Spaces", "spaces_compared", package=_PACKAGE, legend=legend,
        notes=found.notes.get("samples", []),
    )  # fmt: skip


def _figures_section(found: Comparison, name: str, rows: Sequence[Row]) -> Section:
    names = [each.name for each in found.spaces]
    made = {
        "fidelity": _fidelity_parts,
        "modelability": _modelability_parts,
        "semantics": _semantics_parts,
    }
    parts = made[name](found.spaces) if name in made else []
    return section(
        _TITLES[name],
        "figures_compared",
        package=_PACKAGE,
        lead=_LEADS[name],
        names=names,
        rows=[(row, [_cell(row, each, names) for each in names]) for row in rows],
        notes=found.notes.get(name, []),
        parts=parts,
    )


def _cell(row: Row, name: str, names: Sequence[str]) -> tuple[str, str]:
    """Return what a space's cell says: the figure, and how it differs from the first space's."""
    found = row.estimates.get(name)
    if found is None or np.isnan(found.value):
        return "\N{EN DASH}", ""
    against = row.differences.get((names[0], name))
    return _estimate(found), "" if against is None else _difference(against)


def _estimate(found: Estimate) -> str:
    if not np.isfinite(found.low):
        return f"{found.value:.4g}"
    return f"{found.value:.4g} [{found.low:.4g}, {found.high:.4g}]"


def _difference(found: Difference) -> str:
    if found.verdict in ("equal", "unknown"):
        return found.verdict
    return f"{found.verdict} by {abs(found.value):.3g}"


def _part(title: str, body: Markup | None, caption: str) -> list[Part]:
    return [] if body is None else [Part(title, caption, svg=body)]


def _fidelity_parts(spaces: Sequence[Measured]) -> list[Part]:
    parts: list[Part] = []
    shown = [_sheet(spaces, "shown", number) for number in range(_CROSSED)]
    if kept := [each for each in shown if each is not None]:
        parts.append(
            Part(
                "Samples",
                "Original, then of each space its decode and the error, four times "
                "as bright. Faces and lettering need eyes: no figure above sees them.",
                sheets=kept,
            )
        )
    for space in spaces:
        worst = [_sheet([space], "worst", number) for number in range(_CROSSED)]
        if kept := [each for each in worst if each is not None]:
            parts.append(
                Part(
                    f"Worst of {space.name}",
                    "The samples of lowest PSNR: often fine texture or noise.",
                    sheets=kept,
                )
            )
    return parts


def _sheet(spaces: Sequence[Measured], kind: str, number: int) -> Sheet | None:
    pictures: list[tuple[str, Rgb]] = []
    at = f"{kind}.{number}"
    title = ""
    for space in spaces:
        original = space.pictures.get(f"{at}.original")
        if original is None:
            continue
        facts = space.facts[kind][number]
        title = title or str(facts["title"])
        if not pictures:
            pictures.append(("original", original))
        pictures += [
            (
                f"{space.name}, {facts['psnr_db']:.1f} dB",
                space.pictures[f"{kind}.{number}.decoded"],
            ),
            ("error", space.pictures[f"{at}.error"]),
        ]
    return Sheet(title, pictures) if pictures else None


def _modelability_parts(spaces: Sequence[Measured]) -> list[Part]:
    means = {
        each.name: _mean(each.values["spectrum"]) for each in spaces if "spectrum" in each.values
    }
    spectra = {
        name: list(zip(RING_CENTRES.tolist(), ring_means(mean[None])[0].tolist(), strict=True))
        for name, mean in means.items()
    }
    middles = ((HISTOGRAM_EDGES[1:] + HISTOGRAM_EDGES[:-1]) / 2).tolist()
    histograms = {
        each.name: list(zip(middles, each.curves["histogram"].tolist(), strict=True))
        for each in spaces
        if "histogram" in each.curves
    }
    smooth = {
        each.name: list(zip(NOISE_LEVELS, _mean(each.values["smoothness"]).tolist(), strict=True))
        for each in spaces
        if "smoothness" in each.values
    }
    parts = _part(
        "Spectra",
        chart(spectra, across="spatial frequency, of the highest", up="energy", is_log=True),
        "Mean energy of the latents over rings of frequency, both axes logarithmic. A line that "
        "does not fall is noise to a model.",
    )
    parts += _part(
        "Values as trained on",
        chart(histograms, across="value, in standard deviations", up="share"),
        "All channels together, normalized as a training run would.",
    )
    parts += _part(
        "Eigenvalues",
        chart(_eigenvalues(spaces), across="number of the eigenvalue", up="variance", is_log=True),
        "Of the channels' covariance, as trained on, largest first.",
    )
    parts += _part(
        "Smoothness",
        chart(smooth, across="noise, in standard deviations", up="PSNR in dB"),
        "Decode of a latent with noise against its decode without.",
    )
    for name, title, caption in (
        ("between", "Between two samples", "Latents mixed in equal steps, and decoded."),
        ("probe", "Samples of the probe", "Of the first seed, decoded; small crops, unlabelled."),
    ):
        rows = [(each.name, _numbered(each, name)) for each in spaces]
        if kept := [(label, pictures) for label, pictures in rows if pictures]:
            parts.append(Part(title, caption, strips=kept))
    return parts


def _mean(values: Floats) -> Floats:
    """Return the mean of those samples that have all values, or NaN of none."""
    kept = values[np.isfinite(values).all(axis=1)]
    return kept.mean(axis=0) if len(kept) else np.full(values.shape[1:], np.nan)


def _eigenvalues(spaces: Sequence[Measured]) -> dict[str, list[tuple[float, float]]]:
    found = {}
    for space in spaces:
        if "covariance" in space.values:
            mean = _mean(space.values["covariance"])[None]
            values = eigenvalues(mean)[0].tolist() if np.isfinite(mean).all() else []
            found[space.name] = [(float(place + 1), value) for place, value in enumerate(values)]
    return found


def _numbered(space: Measured, name: str) -> list[Rgb]:
    found: list[Rgb] = []
    while (picture := space.pictures.get(f"{name}.{len(found)}")) is not None:
        found.append(picture)
    return found


def _semantics_parts(spaces: Sequence[Measured]) -> list[Part]:
    grids = [
        (f"by latents of {each.name}", each.pictures["neighbours"])
        for each in spaces
        if "neighbours" in each.pictures
    ]
    by_pixels = next((each for each in spaces if "neighbours_pixels" in each.pictures), None)
    if by_pixels is not None:
        grids.append(("by small pixels", by_pixels.pictures["neighbours_pixels"]))
    if not grids:
        return []
    mosaics = [(name, mosaic([[*line] for line in lines], scale=1)) for name, lines in grids]
    caption = (
        "Left: a sample; then its five nearest, nearest first. Neighbours of the same colour and "
        "layout alone are what small pixels find too."
    )
    return [Part("Nearest neighbours", caption, grids=mosaics)]
