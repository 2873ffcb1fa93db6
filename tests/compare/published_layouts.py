"""Random weights in the layouts of torchvision, lpips and pytorch-fid: their names and shapes."""

import torch
from torch import Tensor

_ALEX = ((0, 64, 3, 11), (3, 192, 64, 5), (6, 384, 192, 3), (8, 256, 384, 3), (10, 256, 256, 3))
_VGG_NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG_WIDTHS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
_HEADS = {"alex": (64, 192, 384, 256, 256), "vgg": (64, 128, 256, 512, 512)}


def _drawn(*shape: int, seed: int) -> Tensor:
    fan = max(1, torch.Size(shape[1:]).numel())
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * (2 / fan) ** 0.5


def lpips_backbone(net: str) -> dict[str, Tensor]:
    """Return ``features.N`` of torchvision's network."""
    layers = _ALEX
    if net == "vgg":
        inputs = (3, *_VGG_WIDTHS[:-1])
        layers = tuple(zip(_VGG_NUMBERS, _VGG_WIDTHS, inputs, [3] * 13, strict=True))  # type: ignore[assignment]
    found = {}
    for number, width, inner, edge in layers:
        found[f"features.{number}.weight"] = _drawn(width, inner, edge, edge, seed=number)
        found[f"features.{number}.bias"] = torch.zeros(width)
    return found


def lpips_heads(net: str) -> dict[str, Tensor]:
    """Return the heads, which are not negative."""
    return {
        f"lin{at}.model.1.weight": _drawn(1, width, 1, 1, seed=at).abs()
        for at, width in enumerate(_HEADS[net])
    }


def _inception_shapes() -> dict[str, tuple[int, int, int, int]]:
    shapes = {
        "Conv2d_1a_3x3": (32, 3, 3, 3), "Conv2d_2a_3x3": (32, 32, 3, 3),
        "Conv2d_2b_3x3": (64, 32, 3, 3), "Conv2d_3b_1x1": (80, 64, 1, 1),
        "Conv2d_4a_3x3": (192, 80, 3, 3), "Mixed_6a.branch3x3": (384, 288, 3, 3),
        "Mixed_6a.branch3x3dbl_1": (64, 288, 1, 1), "Mixed_6a.branch3x3dbl_2": (96, 64, 3, 3),
        "Mixed_6a.branch3x3dbl_3": (96, 96, 3, 3), "Mixed_7a.branch3x3_1": (192, 768, 1, 1),
        "Mixed_7a.branch3x3_2": (320, 192, 3, 3), "Mixed_7a.branch7x7x3_1": (192, 768, 1, 1),
        "Mixed_7a.branch7x7x3_2": (192, 192, 1, 7), "Mixed_7a.branch7x7x3_3": (192, 192, 7, 1),
        "Mixed_7a.branch7x7x3_4": (192, 192, 3, 3),
    }  # fmt: skip
    for name, inner, pooled in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
        shapes |= {
            f"Mixed_{name}.branch1x1": (64, inner, 1, 1),
            f"Mixed_{name}.branch5x5_1": (48, inner, 1, 1),
            f"Mixed_{name}.branch5x5_2": (64, 48, 5, 5),
            f"Mixed_{name}.branch3x3dbl_1": (64, inner, 1, 1),
            f"Mixed_{name}.branch3x3dbl_2": (96, 64, 3, 3),
            f"Mixed_{name}.branch3x3dbl_3": (96, 96, 3, 3),
            f"Mixed_{name}.branch_pool": (pooled, inner, 1, 1),
        }
    for name, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
        at = f"Mixed_{name}.branch7x7"
        shapes |= {
            f"Mixed_{name}.branch1x1": (192, 768, 1, 1),
            f"{at}_1": (width, 768, 1, 1), f"{at}_2": (width, width, 1, 7),
            f"{at}_3": (192, width, 7, 1), f"{at}dbl_1": (width, 768, 1, 1),
            f"{at}dbl_2": (width, width, 7, 1), f"{at}dbl_3": (width, width, 1, 7),
            f"{at}dbl_4": (width, width, 7, 1), f"{at}dbl_5": (192, width, 1, 7),
            f"Mixed_{name}.branch_pool": (192, 768, 1, 1),
        }  # fmt: skip
    for name, inner in (("7b", 1280), ("7c", 2048)):
        at = f"Mixed_{name}.branch3x3"
        shapes |= {
            f"Mixed_{name}.branch1x1": (320, inner, 1, 1), f"{at}_1": (384, inner, 1, 1),
            f"{at}_2a": (384, 384, 1, 3), f"{at}_2b": (384, 384, 3, 1),
            f"{at}dbl_1": (448, inner, 1, 1), f"{at}dbl_2": (384, 448, 3, 3),
            f"{at}dbl_3a": (384, 384, 1, 3), f"{at}dbl_3b": (384, 384, 3, 1),
            f"Mixed_{name}.branch_pool": (192, inner, 1, 1),
        }  # fmt: skip
    return shapes


def inception_weights() -> dict[str, Tensor]:
    """Return InceptionV3's convolutions and batch norms as pytorch-fid names them."""
    found = {}
    for seed, (name, shape) in enumerate(_inception_shapes().items()):
        found[f"{name}.conv.weight"] = _drawn(*shape, seed=seed)
        found[f"{name}.bn.weight"] = torch.ones(shape[0])
        found[f"{name}.bn.bias"] = torch.zeros(shape[0])
        found[f"{name}.bn.running_mean"] = torch.zeros(shape[0])
        found[f"{name}.bn.running_var"] = torch.ones(shape[0])
    return found
