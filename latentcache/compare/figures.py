"""Figures: what is measured, its unit, how samples make it, and what it means in plain words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from latentcache.compare.looks.deep_values import at_shown_level
from latentcache.compare.metrics.interval import OfMean, mean_itself
from latentcache.compare.metrics.latent_values import (
    kl_per_pixel,
    mean_offset,
    noise_fraction,
    participation,
    published_distance,
    top_share,
    trained_std,
)
from latentcache.compare.metrics.probe import loss_ratio
from latentcache.compare.metrics.semantics import separability
from latentcache.compare.metrics.spectrum import high_share, slope

SectionName = Literal["fidelity", "modelability", "semantics", "cost"]
SECTIONS: tuple[SectionName, ...] = ("fidelity", "modelability", "semantics", "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row of the comparison.

    Attributes:
        name: In ``--json``.
        section: Where it stands.
        title: For people.
        unit: Or "".
        meaning: What it says, and what it does not.
        values: Of which per-sample values it is made; "" for those of its own name.
        of_mean: How: from their mean.
        is_paired: Its values are of the samples, in order; else they are independent draws.
    """

    name: str
    section: SectionName
    title: str
    meaning: str
    unit: str = ""
    values: str = ""
    of_mean: OfMean = mean_itself
    is_paired: bool = True

    @property
    def source(self) -> str:
        """The name of its per-sample values."""
        return self.values or self.name


_FIDELITY = (
    Figure(
        name="psnr_db", section="fidelity", title="PSNR", unit="dB",
        meaning="Squared error of what the stored latent decodes to, as 8-bit RGB, against the "
        "pixels that were encoded; mean over samples. It rewards blur over misplaced detail.",
    ),
    Figure(
        name="psnr_first_db", section="fidelity", title="PSNR, first frame", unit="dB",
        meaning="Of clips, their first frame alone: causal encoders give it a latent of its own.",
    ),
    Figure(
        name="psnr_rest_db", section="fidelity", title="PSNR, other frames", unit="dB",
        meaning="Of clips, all frames after the first.",
    ),
    Figure(
        name="ssim", section="fidelity", title="SSIM",
        meaning="Likeness of structure in windows of 11 px, 1 is equal. Flat areas score high "
        "whatever happens elsewhere.",
    ),
    Figure(
        name="ms_ssim", section="fidelity", title="MS-SSIM",
        meaning="SSIM over five scales, from 176 px up: forgives fine noise, punishes shifted "
        "or missing large shapes.",
    ),
    Figure(
        name="lpips", section="fidelity", title="LPIPS",
        meaning="Distance of a network's features, 0 is equal; only where its weights are given. "
        "Many autoencoders were trained on it, which it then flatters.",
    ),
    Figure(
        name="rfid", section="fidelity", title="rFID", is_paired=False,
        meaning="Fréchet distance of InceptionV3's features of decodes from those of the same "
        "samples; only where its weights are given, from 10,000 samples up. It has no interval.",
    ),
    Figure(
        name="flicker", section="fidelity", title="flicker", unit="levels",
        meaning="Of clips: how far changes from frame to frame are off, in levels of 255. A "
        "steady error does not count, one that comes and goes does.",
    ),
    Figure(
        name="storage_loss_db", section="fidelity", title="PSNR lost to storage", unit="dB",
        meaning="PSNR of the encoder's own latents less that of the stored ones, which are rounded "
        "to the storage dtype. Of some samples, encoded again.",
    ),
    Figure(
        name="storage_limit_db", section="fidelity", title="best PSNR of the dtype", unit="dB",
        meaning="PSNR between decodes of rounded and of unrounded latents: the most that this "
        "storage dtype would allow were the encoder without error.",
    ),
)  # fmt: skip

_MODELABILITY = (
    Figure(
        name="spectrum_slope", section="modelability", title="spectrum slope", values="spectrum",
        of_mean=slope,
        meaning="How fast energy falls with spatial frequency: alpha of r^-alpha. Natural "
        "pictures have about 2, white noise 0. Steeper is smoother; no value is best by itself.",
    ),
    Figure(
        name="high_frequency_share", section="modelability", title="high-frequency share",
        values="spectrum", of_mean=high_share,
        meaning="Share of the latents' spatial energy above half of the highest frequency. Much "
        "of it is what a model must guess late, from little signal.",
    ),
    Figure(
        name="mean_offset", section="modelability", title="channel means off zero",
        values="moments", of_mean=mean_offset,
        meaning="Root mean square over channels of the mean, in standard deviations, as a model "
        "would train on it: normalized as published, or as measured where nothing is.",
    ),
    Figure(
        name="trained_std", section="modelability", title="channel std", values="moments",
        of_mean=trained_std,
        meaning="Root mean square over channels of the standard deviation, as trained on; 1 is "
        "what noise schedules assume.",
    ),
    Figure(
        name="published_distance", section="modelability", title="distance from published",
        values="moments_published", of_mean=published_distance,
        meaning="How far the channels' means and standard deviations are from 0 and 1 under the "
        "published normalization. Far means another input range, checkpoint or packing.",
    ),
    Figure(
        name="noise_fraction", section="modelability", title="noise fraction",
        values="posterior", of_mean=noise_fraction,
        meaning="Share of the latents' variance that the posterior's own noise is; only where a "
        "log-variance is stored.",
    ),
    Figure(
        name="kl_per_pixel", section="modelability", title="KL", unit="nats/pixel",
        values="posterior", of_mean=kl_per_pixel,
        meaning="What the posterior says beyond a standard normal, per pixel of the source; only "
        "where a log-variance is stored.",
    ),
    Figure(
        name="participation_ratio", section="modelability", title="participation ratio",
        unit="channels", values="covariance", of_mean=participation,
        meaning="How many channels' worth of variance there is, from eigenvalues of the channels' "
        "covariance as trained on. Compare it with the number of channels.",
    ),
    Figure(
        name="top_share", section="modelability", title="largest eigenvalue", values="covariance",
        of_mean=top_share,
        meaning="Share of the variance in the one strongest mixture of channels.",
    ),
)  # fmt: skip

_TRIALS = (
    Figure(
        name="rotation_error", section="modelability", title="error under a turn",
        meaning="|E(turned x) - turned E(x)| / |E(x)| for 90 degrees: 0 is an encoder that turns "
        "its latents with the picture. EQ-VAE trains for it; dct cannot have it.",
    ),
    Figure(
        name="scale_error", section="modelability", title="error under halving",
        meaning="Likewise for a picture of half the size. It compares latents as trained on.",
    ),
    Figure(
        name="noise_psnr_db", section="modelability", title="PSNR under noise 0.2", unit="dB",
        values="smoothness", of_mean=at_shown_level,
        meaning="What the decoder makes of a latent with noise of 0.2 standard deviations, against "
        "the latent's own decode: how well it bears what a model gets slightly wrong.",
    ),
    Figure(
        name="probe_distance", section="modelability", title="probe: distance of samples",
        is_paired=False,
        meaning="Kernel distance (KID's) between real crops and decoded samples of a small model "
        "trained alike on every space, by features that no encoder owns. 0 is alike. Its interval "
        "is over seeds and samples. A probe of minutes: it tells large differences only.",
    ),
    Figure(
        name="probe_loss", section="modelability", title="probe: loss over Gaussian's",
        of_mean=loss_ratio, is_paired=False,
        meaning="Held-out loss of that model over that of the best Gaussian predictor of the same "
        "latents. Below 1 it has learned more than a covariance. It does not compare pictures.",
    ),
)  # fmt: skip

_SEMANTICS = (
    Figure(
        name="knn", section="semantics", title="kNN",
        meaning="Share of samples whose label their 20 nearest others name, by latents pooled to "
        "4 x 4 cells.",
    ),
    Figure(
        name="knn_pixels", section="semantics", title="kNN, small pixels",
        meaning="The same by pictures of 8 x 8 px: what a space must beat to be called organised.",
    ),
    Figure(
        name="linear", section="semantics", title="linear probe",
        meaning="Share of samples that logistic regression gets right, trained without their fold.",
    ),
    Figure(
        name="linear_pixels", section="semantics", title="linear probe, small pixels",
        meaning="The same by pictures of 8 x 8 px.",
    ),
    Figure(
        name="separability", section="semantics", title="separability", values="scatter",
        of_mean=separability,
        meaning="Scatter between classes over scatter within them. It grows with few samples a "
        "class; compare only spaces here.",
    ),
    Figure(
        name="separability_pixels", section="semantics", title="separability, small pixels",
        values="scatter_pixels", of_mean=separability,
        meaning="The same by pictures of 8 x 8 px.",
    ),
)  # fmt: skip

_COST = (
    Figure(
        name="tokens", section="cost", title="tokens a sample",
        meaning="Of a DiT whose tokens stand for 16 x 16 px, or for one cell where cells are "
        "larger, at the samples' own sizes.",
    ),
    Figure(
        name="attention_gflops", section="cost", title="attention, one pass", unit="GFLOP",
        meaning="Of scores and mixtures alone, of a DiT-XL (28 blocks, 1,152 wide): it grows with "
        "the square of the tokens.",
    ),
    Figure(
        name="dit_gflops", section="cost", title="DiT-XL, one pass", unit="GFLOP",
        meaning="All of it: 24 width^2 a token and block, and the attention above.",
    ),
    Figure(
        name="bytes_per_sample", section="cost", title="stored bytes a sample", unit="B",
        meaning="Of the stored fields of one sample, without tar headers.",
    ),
    Figure(
        name="decode_ms", section="cost", title="decode a sample", unit="ms",
        meaning="One sample at a time on this machine, as the comparison ran; not what a GPU "
        "in batches does.",
    ),
    Figure(
        name="encode_ms", section="cost", title="encode a sample", unit="ms",
        meaning="Likewise.",
    ),
)  # fmt: skip

FIGURES: tuple[Figure, ...] = (*_FIDELITY, *_MODELABILITY, *_TRIALS, *_SEMANTICS, *_COST)


def figures_of(section: SectionName) -> Sequence[Figure]:
    """Return the rows of one section, in order."""
    return [each for each in FIGURES if each.section == section]
