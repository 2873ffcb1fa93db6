#!/usr/bin/env bash
# diffusers 0.42.1: DDPMScheduler.add_noise adds no noise at all at its lowest timesteps if the latents are bfloat16.
#
# Latents kept in bfloat16 and noised in it should be off by its rounding, half a per cent. But add_noise casts
# alphas_cumprod, which begins at 0.9999, to the dtype of the latents BEFORE it takes 1 - alpha; the
# numbers next to 1 in bfloat16 lie 0.004 apart. So at the first timesteps alpha is 1 and the noise
# factor exactly 0: 2 timesteps of Stable Diffusion's schedule, 10 of the linear one, 21 of the cosine
# one; the next ones are off by up to 39 %, up and down in steps. The model is asked to predict a noise
# that is not there. float16 has it at 2 timesteps (linear) and 4 (cosine). In get_velocity, too, the target
# of v-prediction there is the noise alone. DDIM and others share the code; schedulers with sigmas do not.
# For whom it matters: training from a cache in half precision, and what is learnt of fine detail: the
# loss of these timesteps is that of a guess. What helps: `add_noise(latents.float(), noise.float(), t)`,
# and the cast after it.
#
# Versions: diffusers 0.42.1, torch 2.13.0. Exits non-zero if the behaviour is another one.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install "diffusers==0.42.1" "torch==2.13.0" "numpy==2.4.6"
cat > "$work/show.py" <<'PY'
import sys

import diffusers
import torch
from diffusers import DDIMScheduler, DDPMScheduler

SCHEDULES = {
    "Stable Diffusion": DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
    "linear": DDPMScheduler(),
    "linear, DDIM": DDIMScheduler(),
    "cosine": DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
}
TIMESTEPS = torch.arange(1000)
LATENTS, NOISE = torch.zeros(1000, 1, 1, 1), torch.ones(1000, 1, 1, 1)

print("diffusers", diffusers.__version__, "torch", torch.__version__)
found = {}
for name, scheduler in SCHEDULES.items():
    right = scheduler.add_noise(LATENTS, NOISE, TIMESTEPS).flatten()
    for dtype in (torch.bfloat16, torch.float16):
        noisy = scheduler.add_noise(LATENTS.to(dtype), NOISE.to(dtype), TIMESTEPS).flatten().float()
        none = int((noisy == 0).sum())
        off = (noisy / right - 1).abs()
        cast_after = (right.to(dtype).float() / right - 1).abs().max().item()
        few = [round(value, 4) for value in right[[0, 2, 4]].tolist()]
        got = [round(value, 4) for value in noisy[[0, 2, 4]].tolist()]
        print(f"{name:17}{str(dtype)[6:]:9} no noise at {none} timesteps, over 10 % off at {int((off > 0.1).sum())}: "
              f"at 0, 2, 4 {few} is {got}; cast after: {cast_after:.4f} off at most")
        found[name, dtype] = none
        assert cast_after < 0.005, "the cast afterwards helps no longer"
linear = SCHEDULES["linear"]
velocity = linear.get_velocity(torch.ones(1, 1, 1, 1).bfloat16(), torch.zeros(1, 1, 1, 1).bfloat16(), torch.tensor([5]))
exact = linear.get_velocity(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), torch.tensor([5]))
print("part of the sample in the velocity at 5:", round(exact.item(), 4), "is", velocity.item())
expected = {"Stable Diffusion": (2, 0), "linear": (10, 2), "linear, DDIM": (10, 2), "cosine": (21, 4)}
seen = {name: (found[name, torch.bfloat16], found[name, torch.float16]) for name in SCHEDULES}
sys.exit(seen != expected or velocity.item() != 0)
PY
"$work/venv/bin/python" "$work/show.py"
