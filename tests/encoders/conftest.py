"""Tiny random checkpoints of the real classes, saved and loaded by the real code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

TINY_CONFIGS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {
        "block_out_channels": (8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": 4,
        "norm_num_groups": 4,
        "scaling_factor": 0.13025,
        "force_upcast": False,
    },
    "AutoencoderKLFlux2": {
        "block_out_channels": (8, 8, 8),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": 32,
        "norm_num_groups": 4,
    },
    "AutoencoderDC": {
        "latent_channels": 32,
        "attention_head_dim": 4,
        "encoder_block_out_channels": (8, 8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8, 8),
        "encoder_layers_per_block": (1, 1, 1, 1),
        "decoder_layers_per_block": (1, 1, 1, 1),
        "encoder_qkv_multiscales": ((), (), (), (5,)),
        "decoder_qkv_multiscales": ((), (), (), (5,)),
        "encoder_block_types": ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
        "decoder_block_types": ("ResBlock", "ResBlock", "ResBlock", "EfficientViTBlock"),
        "scaling_factor": 0.41407,
        "encoder_out_shortcut": False,
        "decoder_in_shortcut": False,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": (8, 8, 8, 8),
        "decoder_block_out_channels": (8, 8, 8, 8),
        "num_encoder_blocks": (1, 1, 1, 1),
        "num_decoder_blocks": (1, 1, 1, 1),
        "latent_channels": 6,
    },
    "AutoencoderKLQwenImage21": {
        "base_dim": 4,
        "decoder_base_dim": 4,
        "dim_mult": [1, 1, 1],
        "num_res_blocks": 1,
        "temperal_downsample": [False, True],
        "latents_mean": [c / 64 for c in range(64)],
        "latents_std": [1 + c / 64 for c in range(64)],
    },
    "AutoencoderKLHunyuanImage": {
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 64,
        # Its group norms want 32 channels, its shortcut twice those of a latent.
        "block_out_channels": (32, 64, 128),
        "layers_per_block": 1,
        "spatial_compression_ratio": 4,
        "sample_size": 64,
        "scaling_factor": 0.75289,
    },
    "AutoencoderKLHunyuanImageRefiner": {
        "block_out_channels": (16, 32, 64),
        "layers_per_block": 1,
        "spatial_compression_ratio": 4,
    },
    "AutoencoderKLKVAE": {
        "channels": 32,
        "num_enc_blocks": 1,
        "num_dec_blocks": 1,
        "ch_mult": (1, 1, 1),
    },
    "AutoencoderRAE": {
        "encoder_hidden_size": 64,
        "encoder_num_hidden_layers": 1,
        "encoder_patch_size": 14,
        "encoder_input_size": 56,
        "decoder_hidden_size": 32,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
        "patch_size": 16,
        "latents_mean": [[[c / 64]] for c in range(64)],
        "latents_std": [[[1 + c / 64]] for c in range(64)],
    },
    "AsymmetricAutoencoderKL": {
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "down_block_out_channels": (8, 8),
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "up_block_out_channels": (8, 8),
        "norm_num_groups": 4,
    },
}

_WAN = {
    "base_dim": 8,
    "dim_mult": [1, 1, 1],
    "num_res_blocks": 1,
    "temperal_downsample": [True, True],
}

TINY_VIDEOS: dict[str, tuple[str, dict[str, Any]]] = {
    "wan": ("AutoencoderKLWan", _WAN),
    "wan22": (
        "AutoencoderKLWan",
        {
            **_WAN,
            "decoder_base_dim": 8,
            "z_dim": 48,
            "is_residual": True,
            "patch_size": 2,
            "in_channels": 12,
            "out_channels": 12,
            "latents_mean": [c / 48 for c in range(48)],
            "latents_std": [1 + c / 48 for c in range(48)],
        },
    ),
    "qwen": ("AutoencoderKLQwenImage", _WAN),
    "hunyuan": (
        "AutoencoderKLHunyuanVideo",
        {"block_out_channels": (8, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 4},
    ),
    "hunyuan15": (
        "AutoencoderKLHunyuanVideo15",
        {
            "block_out_channels": (8, 16, 32, 64),
            "layers_per_block": 1,
            "spatial_compression_ratio": 8,
        },
    ),
    "ltx": (
        "AutoencoderKLLTXVideo",
        {
            "block_out_channels": (8, 8, 8, 8),
            "decoder_block_out_channels": (8, 8, 8, 8),
            "layers_per_block": (1, 1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1, 1),
        },
    ),
    "ltx2": (
        "AutoencoderKLLTX2Video",
        {
            "block_out_channels": (4, 8, 8, 8),
            "decoder_block_out_channels": (8, 16, 32),
            "layers_per_block": (1, 1, 1, 1, 1),
            "decoder_layers_per_block": (1, 1, 1, 1),
        },
    ),
    "cogvideox": (
        "AutoencoderKLCogVideoX",
        {
            "block_out_channels": (8, 8, 8, 8),
            "layers_per_block": 1,
            "norm_num_groups": 4,
            "force_upcast": False,
        },
    ),
    "cosmos": (
        "AutoencoderKLCosmos",
        {
            "encoder_block_out_channels": (8, 8, 8, 8),
            "decode_block_out_channels": (8, 8, 8, 8),
            "num_layers": 1,
            "attention_resolutions": (),
            "resolution": 64,
        },
    ),
    "mochi": (
        "AutoencoderKLMochi",
        {
            # Its group norm wants 32 channels.
            "encoder_block_out_channels": (32, 32, 32, 32),
            "decoder_block_out_channels": (32, 32, 32, 32),
            "layers_per_block": (0, 0, 0, 1, 1),
            "add_attention_block": (False, False, False, False, True),
        },
    ),
    "svd": (
        "AutoencoderKLTemporalDecoder",
        {
            "block_out_channels": (32, 32),
            "down_block_types": ("DownEncoderBlock2D",) * 2,
            "force_upcast": False,
        },
    ),
    "minimax-h3": (
        "AutoencoderKLMiniMaxH3",
        {
            "block_out_channels": (8, 8, 8),
            "layers_per_block": 1,
            "spatial_downsample_factors": (2, 2, 2),
            "temporal_downsample_factors": (1, 2, 2),
            "norm_num_groups": 4,
            "decoder_num_layers": 1,
            "decoder_num_attention_heads": 2,
            "decoder_attention_head_dim": 16,
            "latents_mean": [c / 24 for c in range(24)],
            "latents_std": [1 + c / 24 for c in range(24)],
        },
    ),
    "kvae-video": (
        "AutoencoderKLKVAEVideo",
        {"ch": 32, "ch_mult": (1, 1, 1), "num_res_blocks": 1},
    ),
    "kandinsky6-sr": (
        "Kandinsky6SRVAE",
        {
            "encoder_block_out_channels": (8, 8, 16, 16),
            "decoder_block_out_channels": (8, 8, 16, 16),
            "layers_per_block": 1,
        },
    ),
    "easyanimate": (
        "AutoencoderKLMagvit",
        {
            "block_out_channels": (8, 8, 8, 8),
            "layers_per_block": 1,
            "norm_num_groups": 4,
        },
    ),
    "allegro": (
        "AutoencoderKLAllegro",
        {
            "block_out_channels": (4, 4, 4, 4),
            "layers_per_block": 1,
            "norm_num_groups": 2,
            "sample_size": 128,
        },
    ),
    "vidtok": (
        "AutoencoderVidTok",
        {"ch": 32, "ch_mult": (1, 1, 1), "num_res_blocks": 1},
    ),
}
"""By preset. Widths are tiny, latent channels those of the released weights."""


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def save_tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves a tiny random checkpoint and returns its folder.

    It takes the name of an image class or of a video preset, and changes of the config.
    """

    def save(name: str, *, seed: int = 0, **changes: Any) -> Path:
        import diffusers  # noqa: PLC0415  takes seconds, most tests do without

        class_name, config = TINY_VIDEOS.get(name) or (name, TINY_CONFIGS[name])
        torch.manual_seed(seed)
        module = getattr(diffusers, class_name)(**{**config, **changes})
        if class_name == "AutoencoderKLFlux2":
            module.bn.running_mean.uniform_(-1, 1)
            module.bn.running_var.uniform_(0.5, 2)
        if "latents_mean" in dict(module.named_buffers()):
            module.latents_mean.uniform_(-1, 1)
            module.latents_std.uniform_(0.5, 2)
        folder = tmp_path_factory.mktemp(class_name)
        module.save_pretrained(folder)
        return folder

    return save


@pytest.fixture(scope="session")
def tiny_video(save_tiny: Callable[..., Path]) -> Callable[..., tuple[Any, Any]]:
    """Return a function: video preset to (our encoder, the diffusers model it wraps).

    ``knobs`` are those after the location; the model is loaded anew, as diffusers leaves it.
    """

    def load(name: str, *, knobs: str = "", **changes: Any) -> tuple[Any, Any]:
        import diffusers  # noqa: PLC0415  takes seconds

        from latentcache.encoders import EncoderOptions, load_encoder  # noqa: PLC0415

        folder = save_tiny(name, **changes)
        options = EncoderOptions(device="cpu", is_offline=True)
        encoder = load_encoder(f"{name}:{folder}{knobs}", options)
        model_class = getattr(diffusers, TINY_VIDEOS[name][0])
        return encoder, model_class.from_pretrained(folder, low_cpu_mem_usage=False).eval()

    return load


@pytest.fixture(scope="session")
def clip() -> Callable[..., torch.Tensor]:
    """Return a function that makes one random clip, BCTHW in [-1, 1]."""

    def make(num_frames: int, height: int = 32, width: int = 64) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.rand(1, 3, num_frames, height, width, generator=generator) * 2 - 1

    return make


@pytest.fixture(scope="session")
def encode() -> Callable[..., dict[str, torch.Tensor]]:
    """Return a function: encoder and batch to stacked fields."""

    def run(encoder: Any, pixels: torch.Tensor) -> dict[str, torch.Tensor]:
        from latentcache.encoders import SampleMeta, stack_fields  # noqa: PLC0415

        return stack_fields(encoder.encode(pixels, [SampleMeta(key="")] * len(pixels)))

    return run
