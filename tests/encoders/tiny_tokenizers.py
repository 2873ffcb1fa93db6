"""Tiny random tokenizers of the real classes, each saved as its own code saves it."""

from pathlib import Path
from typing import Any

import torch

DIFFUSERS: dict[str, tuple[str, dict[str, Any]]] = {
    "vq": (
        "VQModel",
        {
            "block_out_channels": (8, 8, 8),
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "norm_num_groups": 4,
            "num_vq_embeddings": 300,
            "vq_embed_dim": 4,
        },
    ),
    "vidtok-fsq": (
        "AutoencoderVidTok",
        {
            "ch": 32,
            "ch_mult": (1, 1, 1),
            "num_res_blocks": 1,
            "z_channels": 6,
            "double_z": False,
            "regularizer": "fsq",
        },
    ),
}

_CONVOLUTIONS: dict[str, Any] = {
    "base_channels": 32,
    "channel_multiplier": [1, 1, 1],
    "num_res_blocks": 1,
    "latent_channels": 32,
    "embed_dim": 4,
}

TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "flava-codebook": ("FlavaImageCodebook", {"hidden_size": 8, "vocab_size": 500}),
    "chameleon-vq": ("ChameleonVQVAE", {**_CONVOLUTIONS, "num_embeddings": 200}),
    "janus-vq": ("JanusVQVAE", {**_CONVOLUTIONS, "num_embeddings": 400, "num_patches": 4}),
    "emu3-vq": (
        "Emu3VQVAE",
        {
            **_CONVOLUTIONS,
            "latent_channels": 4,
            "codebook_size": 300,
            "attn_resolutions": [],
            "hidden_size": 32,
        },
    ),
}


def save_tokenizer(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny tokenizer with a spread codebook: one of zeros would give one index for all."""
    torch.manual_seed(seed)
    if name in DIFFUSERS:
        import diffusers  # noqa: PLC0415  takes seconds

        class_name, config = DIFFUSERS[name]
        module = getattr(diffusers, class_name)(**config)
    else:
        import transformers  # noqa: PLC0415

        class_name, config = TRANSFORMERS[name]
        model_class = getattr(transformers, class_name)
        module = model_class(model_class.config_class(**config))
    _fill(module)
    module.save_pretrained(folder)
    return folder


def save_glm_image(folder: Path) -> Path:
    """Save a whole tiny GLM-Image: its tower and its codebook are parts of it."""
    import transformers  # noqa: PLC0415

    torch.manual_seed(0)
    tower = {
        "depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "image_size": 64,
    }  # fmt: skip
    codebook = {"embed_dim": 16, "num_embeddings": 300, "latent_channels": 32}
    text = {
        "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 64,
        "vision_vocab_size": 512, "pad_token_id": 0, "eos_token_id": 1,
    }  # fmt: skip
    config = transformers.GlmImageConfig(vision_config=tower, vq_config=codebook, text_config=text)
    model = transformers.GlmImageForConditionalGeneration(config)
    _fill(model)
    model.save_pretrained(folder)
    return folder


def _fill(module: Any) -> None:
    for name, tensor in module.named_parameters():
        if name.endswith("quantize.embedding.weight"):
            torch.nn.init.normal_(tensor, std=0.5)
