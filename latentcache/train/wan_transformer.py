"""Wan's transformer behind the trainer's interface: diffusers' own, trained as it is.

Facts of ``WanTransformer3DModel`` (diffusers): latents [B, C, T, H, W] with C = 16 or 48,
patch (1, 2, 2), times scaled by 1000, text of any length without a mask, padded with zeros. An
image-to-video model takes 36 channels and gives 16: 4 of a mask and 16 of given latents beside.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentcache.core.errors import ConfigError
from latentcache.train.conditioning_latents import concatenated
from latentcache.train.flow import Condition

_TIME_SCALE = 1000.0


class Wan(nn.Module):
    """Predicts the velocity of noisy latents, told text or nothing.

    Attributes:
        channels: C.
        conditioning_channels: Of the latents that image-to-video models are given.
        num_classes: None; Wan is told text.
        text_dim: Width of its embeddings.
    """

    def __init__(self, transformer: nn.Module, config: dict[str, Any]) -> None:
        super().__init__()
        self.transformer, self._config = transformer, config
        self.channels = int(config.get("out_channels") or config["in_channels"])
        self.conditioning_channels = int(config["in_channels"]) - self.channels
        self.num_classes = None
        self.text_dim = int(config["text_dim"])

    def describe(self) -> dict[str, Any]:
        """Return what must be equal for weights to fit, as plain values."""
        return {"kind": "wan", **self._config}

    def forward(
        self,
        latents: Tensor,
        times: Tensor,
        condition: Condition | None = None,
        conditioning_latents: Tensor | None = None,
    ) -> Tensor:
        """Return velocities of the shape of ``latents``; the arguments are those of ``DiT``.

        "No text" is a context of zeros, which is what Wan pads short prompts with.
        """
        clips = latents if latents.ndim == 5 else latents.unsqueeze(2)
        if isinstance(condition, tuple):
            text = condition[0] * condition[1][..., None]
        else:
            text = latents.new_zeros(len(latents), 1, self.text_dim)
        velocity = self.transformer(
            hidden_states=concatenated(
                clips, conditioning_latents, tuple(self._config["patch_size"])
            ),
            timestep=times * _TIME_SCALE,
            encoder_hidden_states=text.to(latents.dtype),
            return_dict=False,
        )[0]
        cut: Tensor = velocity[tuple(slice(size) for size in clips.shape)]
        return cut.reshape(latents.shape)


def load_wan(source: str | Path) -> Wan:
    """Return Wan's transformer.

    Args:
        source: A folder as diffusers saves it (or one with a ``transformer`` folder in it),
            with weights; or a JSON file, or folder without weights, that holds the
            configuration of a model to start from nothing.

    Raises:
        ConfigError: There is no such configuration, or it is another model's.
    """
    # Takes seconds to import and is not needed for any other model.
    from diffusers import WanTransformer3DModel  # noqa: PLC0415

    kind_of_model: Any = WanTransformer3DModel  # untyped
    path = Path(source)
    if (path / "transformer").is_dir():
        path = path / "transformer"
    config_path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(config_path.read_text(encoding="utf-8"))
        kind = config.get("_class_name", "WanTransformer3DModel")
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(
            f"wan must be a folder or JSON file with a configuration, got {source} ({error}); "
            f"name the folder of its transformer"
        ) from None
    if kind != "WanTransformer3DModel":
        raise ConfigError(
            f"wan must be a WanTransformer3DModel, got {kind} ({config_path}); name the folder "
            f"of its transformer"
        )
    if config.get("image_dim"):
        raise ConfigError(
            f"wan must be a transformer without image embeddings, got image_dim "
            f"{config['image_dim']} ({config_path}); take one that is told its first frame by "
            f"latents alone, such as Wan 2.2's"
        )
    if path.is_dir() and any(path.glob("*.safetensors")):
        model = kind_of_model.from_pretrained(
            path, local_files_only=True, torch_dtype=torch.float32
        )
    else:
        model = kind_of_model.from_config(config)
    # Activations of a clip fit no GPU: they are computed again on the way back.
    model.enable_gradient_checkpointing()
    full = {name: value for name, value in model.config.items() if not name.startswith("_")}
    return Wan(model, json.loads(json.dumps(full)))
