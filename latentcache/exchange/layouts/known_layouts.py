"""The layouts that can be imported: who writes them, and what their values are."""

from dataclasses import dataclass

from latentcache.exchange.layouts.array_shards import read_edm2, read_lightningdit
from latentcache.exchange.layouts.diffusion_pipe import read_diffusion_pipe
from latentcache.exchange.layouts.files_per_sample import (
    read_ai_toolkit,
    read_musubi,
    read_sd_scripts,
    read_simpletuner,
)
from latentcache.exchange.layouts.foreign import Kind, Reader, Values
from latentcache.exchange.layouts.mlperf_flux import read_mlperf_flux
from latentcache.exchange.layouts.table_shards import read_fastvideo, read_mds
from latentcache.exchange.layouts.trainer_folders import (
    read_automodel,
    read_ltx2,
    read_onetrainer,
)


@dataclass(frozen=True, slots=True)
class Layout:
    """One trainer's way to keep latents.

    Attributes:
        read: Gives its samples.
        title: What it looks like.
        values: Raw or scaled; None where that differs between models, and must be given.
        kind: Which of the posterior; likewise.
        tells_logvar: Its moments are mean and log-variance, not mean and standard deviation.
    """

    read: Reader
    title: str
    values: Values | None
    kind: Kind | None
    tells_logvar: bool = False


LAYOUTS: dict[str, Layout] = {
    "simpletuner": Layout(read_simpletuner, "SUBFOLDER/SHA256.pt", "scaled", None),
    "musubi": Layout(read_musubi, "STEM_WxH_ARCH.safetensors", None, None),
    "sd-scripts": Layout(read_sd_scripts, "STEM_WxH_MODEL.npz", None, None),
    "ai-toolkit": Layout(read_ai_toolkit, "_latent_cache/*.safetensors", "scaled", "sample"),
    "onetrainer": Layout(read_onetrainer, "variation-K/N.pt, aggregate.pt", "raw", "mean"),
    "ltx2": Layout(read_ltx2, "latents/REL.pt", "scaled", "mean"),
    "automodel": Layout(read_automodel, "WxH/MD5.pt", "scaled", None),
    "lightningdit": Layout(read_lightningdit, "latents_rankR_shardS.safetensors", "raw", None),
    "edm2": Layout(read_edm2, "NNNNN/img-mean-std-N.npy", "raw", "moments"),
    "diffusion-pipe": Layout(
        read_diffusion_pipe, "latents/shard_N.bin, metadata.db", "scaled", None
    ),
    "mds": Layout(read_mds, "index.json, shard.N.mds", None, None),
    "mlperf-flux": Layout(
        read_mlperf_flux, "*/data-N-of-M.arrow", "raw", "moments", tells_logvar=True
    ),
    "fastvideo": Layout(read_fastvideo, "*.parquet", "raw", "mean"),
}
