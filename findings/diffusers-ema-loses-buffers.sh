#!/usr/bin/env bash
# diffusers 0.42.1: EMAModel.save_pretrained writes a model whose buffers are as new, not as trained.
#
# `EMAModel(model.parameters(), ...).save_pretrained(folder)` is how the training scripts publish averaged
# weights; one expects the model that was trained, with its parameters averaged. EMAModel knows
# parameters only: it builds a fresh model from the config and copies them in, and what the model
# keeps in persistent buffers stays at its initial value. For autoencoders these are the very figures
# that latents are normalised with: the batch norm of AutoencoderKLFlux2 (mean 0, variance 1 again),
# latents_mean and latents_std of the LTX and LTX-2 autoencoders (zeros and ones), AutoencoderRAE's
# statistics. Encode and decode look right; the file loads with every key there, without a warning; only
# what a DiT is given is off. `copy_to(model.parameters())` into the trained model does not lose them.
# For whom it matters: who fine-tunes an autoencoder with EMA and fills a cache from the saved folder.
# What helps: `ema.copy_to(model.parameters()); model.save_pretrained(folder)`.
#
# Versions: diffusers 0.42.1, torch 2.13.0. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "diffusers==0.42.1" "torch==2.13.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import sys
import tempfile

import diffusers
import torch
from diffusers import AutoencoderKLFlux2, AutoencoderKLLTXVideo
from diffusers.training_utils import EMAModel

diffusers.logging.set_verbosity_error()
FLUX2 = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [8, 8],
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
}
LTX = {
    "block_out_channels": [8] * 4,
    "decoder_block_out_channels": [8] * 4,
    "layers_per_block": [1] * 5,
    "decoder_layers_per_block": [1] * 5,
}
WHERE = {
    AutoencoderKLFlux2: ("bn.running_mean", "bn.running_var"),
    AutoencoderKLLTXVideo: ("latents_mean", "latents_std"),
}

print("diffusers", diffusers.__version__, "torch", torch.__version__)
lost, kept = [], []
for kind, config in ((AutoencoderKLFlux2, FLUX2), (AutoencoderKLLTXVideo, LTX)):
    trained = kind(**config)
    for name in WHERE[kind]:
        trained.get_buffer(name).fill_(7.0)
    ema = EMAModel(trained.parameters(), model_cls=kind, model_config=trained.config)
    ema.step(trained.parameters())
    with tempfile.TemporaryDirectory() as folder:
        ema.save_pretrained(folder)
        saved, report = kind.from_pretrained(folder, output_loading_info=True)
    equal = all(torch.equal(a, b) for a, b in zip(saved.parameters(), trained.parameters(), strict=True))
    values = [saved.get_buffer(name).unique().tolist() for name in WHERE[kind]]
    print(f"{kind.__name__}: parameters equal: {equal}, missing keys: {report['missing_keys']}")
    print("  trained 7.0 and 7.0, saved", dict(zip(WHERE[kind], values, strict=True)))
    lost.append(values == [[0.0], [1.0]] and equal and not report["missing_keys"])
    with tempfile.TemporaryDirectory() as folder:
        ema.copy_to(trained.parameters())
        trained.save_pretrained(folder)
        again = kind.from_pretrained(folder)
    kept.append(all(again.get_buffer(name).unique().tolist() == [7.0] for name in WHERE[kind]))
print("lost by ema.save_pretrained:", lost, "- kept by copy_to and save_pretrained:", kept)
sys.exit(not all(lost) or not all(kept))
PY
HF_HUB_OFFLINE=1 "$work/venv/bin/python" "$work/show.py"
