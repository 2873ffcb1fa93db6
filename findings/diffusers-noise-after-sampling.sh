#!/usr/bin/env bash
# diffusers 0.42.1: once a pipeline has sampled with a scheduler, add_noise adds none, whatever the timesteps.
#
# `scheduler.add_noise(latents, noise, timesteps)` (`scale_noise` in the flow-matching ones) is what
# training scripts make their inputs with, and one expects it to depend on its arguments. In the
# schedulers with sigmas it asks first whether a sampling run is under way: `set_begin_index`, which the
# pipelines of FLUX, FLUX.2, Wan, Qwen-Image, LTX-2, Z-Image and others call (32 files), marks its
# start, and from then on the noise level is that of the step which the run has reached; the timesteps
# are not read. After the run that is the level of the last step: sigma 0, so every sample of every later
# batch is trained without noise, at timesteps that say otherwise. Nothing is raised. Only set_timesteps
# undoes it (and leaves another schedule than training began with). Without a sampling run, or with
# DDPM's and DDIM's schedulers, it does not happen, so a test without a validation step does not show it.
# For whom it matters: trainers that draw validation pictures with a pipeline built on the scheduler
# that they also train with. What helps: a scheduler of its own for the pipeline, `Class.from_config(config)`.
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

NAMES = (
    "FlowMatchEulerDiscreteScheduler",
    "EulerDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "HeunDiscreteScheduler",
    "DDPMScheduler",
)


def levels(scheduler, timesteps):
    """How much noise a batch gets at `timesteps`: the latents are zeros and the noise is ones."""
    zeros, ones = torch.zeros(len(timesteps), 1, 1, 1), torch.ones(len(timesteps), 1, 1, 1)
    if hasattr(scheduler, "scale_noise"):
        noisy = scheduler.scale_noise(zeros, timesteps, ones)
    else:
        noisy = scheduler.add_noise(zeros, ones, timesteps)
    return [round(value, 3) for value in noisy.flatten().tolist()]


def sample(scheduler):
    """Do what the pipelines do with their scheduler: five steps from the beginning."""
    scheduler.set_timesteps(5)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    latents = torch.randn(1, 1, 4, 4)
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            latents = scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(torch.randn(1, 1, 4, 4), timestep, latents).prev_sample


print("diffusers", diffusers.__version__, "torch", torch.__version__)
none_left, unchanged = [], []
for name in NAMES:
    scheduler = getattr(diffusers, name)()
    sample(scheduler)
    timesteps = scheduler.timesteps[[0, 2, 4]]
    fresh = getattr(diffusers, name)()
    fresh.set_timesteps(5)
    expected, got = levels(fresh, timesteps), levels(scheduler, timesteps)
    print(f"{name:32} at {[round(t) for t in timesteps.tolist()]}: {expected} after sampling: {got}")
    (none_left if got == [0.0] * 3 else unchanged).append(name)
print("no noise after sampling:", len(none_left), "of", len(NAMES), "- unchanged:", *unchanged)
sys.exit(unchanged != ["DDPMScheduler"])
PY
"$work/venv/bin/python" "$work/show.py"
