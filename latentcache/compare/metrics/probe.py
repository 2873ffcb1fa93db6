"""The probe: a small flow-matching model, trained alike on every space, and its samples judged.

Every space gets the same transformer, the same number of tokens of the same pixels each, the same
steps: equal work. Its samples are decoded and judged in ``judge``'s feature space against real
pixels, so that an encoder that throws away what is hard to model pays in what its decoder cannot
show. It is a probe and no forecast: of minutes on crops, without labels.

Dimension letters: N crops, C channels, H height, W width.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from latentcache.compare.metrics.gaussian_predictor import GaussianPredictor
from latentcache.compare.metrics.interval import Floats
from latentcache.compare.metrics.judge import Judge, judge_features
from latentcache.train import DiT, DiTConfig, flow_loss, sample_euler

OnTrained = Callable[[int], None]
"""Told how many steps are done, all seeds together."""
Decode = Callable[[Tensor], Tensor]
"""Latent crops as trained on [N, C, H, W] to pixels [N, 3, H, W], 0 to 255."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """The same for every space.

    Attributes:
        token_px: Edge of the pixels that a token stands for.
        num_tokens: Along each edge of a crop.
        num_steps: Of training.
        batch_size: Crops of a step.
        width: Of the transformer.
        depth: Blocks.
        num_seeds: Runs, from the first weight to the last sample.
        num_generated: Samples a seed.
    """

    token_px: int = 16
    num_tokens: int = 4
    num_steps: int = 250
    batch_size: int = 64
    width: int = 96
    depth: int = 4
    num_seeds: int = 3
    num_generated: int = 128

    @property
    def crop_px(self) -> int:
        """Edge of a crop."""
        return self.token_px * self.num_tokens

    @property
    def tera_flops(self) -> float:
        """Of one seed's training: six a parameter of the blocks and token."""
        parameters = 12 * self.width**2 * self.depth
        return 6e-12 * parameters * self.num_tokens**2 * self.batch_size * self.num_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What came out.

    Attributes:
        distance: Of blocks of samples from real crops; seed after seed.
        loss: Of held-out crops, seed after seed: the model's and the Gaussian's [N, 2].
        samples: Some decoded samples of the first seed, [N, 3, H, W].
    """

    distance: Floats
    loss: Floats
    samples: Tensor


_NUM_BLOCKS, _HELD_SHARE, _NUM_TIMES = 4, 8, 4
_RATE, _DECAY, _EULER_STEPS, _NUM_SHOWN = 1e-3, 0.995, 24, 24
_TRIED = 4


def run_probe(
    crops_NCHW: Tensor,
    real_NF: Tensor,
    patch: int,
    decode: Decode,
    options: ProbeOptions,
    *,
    on_trained: OnTrained = lambda _done: None,
) -> ProbeResult:
    """Return what a probe finds of one space.

    Args:
        crops_NCHW: Latents as trained on, float32.
        real_NF: ``judge_features`` of the pixels of these crops.
        patch: Latent cells along a token's edge.
        decode: Back to pixels.
        options: The same for every space.
        on_trained: Told after each step of training.
    """
    num_held = max(1, len(crops_NCHW) // _HELD_SHARE)
    train, held = crops_NCHW[:-num_held], crops_NCHW[-num_held:]
    gaussian, judge = GaussianPredictor(train), Judge(real_NF)
    distances: list[float] = []
    losses: list[Floats] = []
    shown: Tensor | None = None
    for seed in range(options.num_seeds):
        told = partial(_told, on_trained, seed * options.num_steps)
        with _one_thread():
            model = _train(train, patch, options, seed, told)
            losses.append(_losses(model, gaussian, held, seed))
            generator = torch.Generator().manual_seed(1000 + seed)
            noise = torch.randn(options.num_generated, *train.shape[1:], generator=generator)
            drawn = sample_euler(model, noise, num_steps=_EULER_STEPS)
        pictures = decode(drawn)
        shown = pictures[:_NUM_SHOWN] if shown is None else shown
        features = judge_features(pictures.clamp(0, 255))
        distances += [judge.distance(each) for each in features.chunk(_NUM_BLOCKS)]
    assert shown is not None, "there is at least one seed"
    return ProbeResult(distance=np.array(distances), loss=np.concatenate(losses), samples=shown)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in one thread: the model's operations are too small to share.

    Two threads beside other work waited for each other: 2.2 s a step instead of 0.15 s (2 cores
    shared with two encoders, torch 2.13, 2026-11).
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def probe_seconds(channels: int, patch: int, options: ProbeOptions) -> float:
    """Return what training and sampling will take here, by a few steps on noise.

    A step of sampling is a third of one of training, which also goes backward.
    """
    edge = patch * options.num_tokens
    crops = torch.randn(options.batch_size, channels, edge, edge)
    trial = replace(options, num_steps=1)
    with _one_thread():
        _train(crops, patch, trial, 0, lambda _step: None)
        began = time.perf_counter()
        _train(crops, patch, replace(options, num_steps=_TRIED), 0, lambda _step: None)
        step_s = (time.perf_counter() - began) / _TRIED
    sampled = _EULER_STEPS * options.num_generated / options.batch_size / 3
    return options.num_seeds * step_s * (options.num_steps + sampled)


def _told(on_trained: OnTrained, before: int, step: int) -> None:
    on_trained(before + step)


def _train(
    train_NCHW: Tensor, patch: int, options: ProbeOptions, seed: int, on_step: OnTrained
) -> DiT:
    """Return the moving average of a model's weights after training."""
    config = DiTConfig(
        channels=train_NCHW.shape[1],
        patch=(1, patch, patch),
        width=options.width,
        depth=options.depth,
        num_heads=max(1, options.width // 32),
        has_position_embedding=True,
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = DiT(config)
    average = [each.detach().clone() for each in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters(), lr=_RATE)
    for step in range(options.num_steps):
        rows = torch.randint(len(train_NCHW), (options.batch_size,), generator=generator)
        latents = train_NCHW[rows]
        times = torch.sigmoid(torch.randn(len(rows), generator=generator))
        noise = torch.randn(latents.shape, generator=generator)
        rate = _RATE * min(1.0, (step + 1) / 20) * min(1.0, 3 * (1 - step / options.num_steps))
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        loss = flow_loss(model, latents, None, times=times, noise=noise).mean()
        torch.autograd.backward(loss)
        optimizer.step()
        kept = min(_DECAY, (step + 1) / (step + 10))
        with torch.no_grad():
            for ours, theirs in zip(average, model.parameters(), strict=True):
                ours.lerp_(theirs, 1 - kept)
        on_step(step + 1)
    with torch.no_grad():
        for ours, theirs in zip(average, model.parameters(), strict=True):
            theirs.copy_(ours)
    return model.eval()


@torch.no_grad()
def _losses(model: DiT, gaussian: GaussianPredictor, held_NCHW: Tensor, seed: int) -> Floats:
    """Return the model's loss and the Gaussian's of each held-out crop, over the same times."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.zeros(len(held_NCHW), 2, dtype=torch.float64)
    for number in range(_NUM_TIMES):
        place = torch.full((len(held_NCHW),), (number + 0.5) / _NUM_TIMES)
        times = torch.sigmoid(torch.special.ndtri(place))
        noise = torch.randn(held_NCHW.shape, generator=generator)
        pairs[:, 0] += flow_loss(model, held_NCHW, None, times=times, noise=noise).double()
        pairs[:, 1] += gaussian.losses(held_NCHW, times)
    found: Floats = (pairs / _NUM_TIMES).numpy()
    return found


def loss_ratio(means_D2: Floats) -> Floats:
    """Return the model's loss over the Gaussian's [D]."""
    return means_D2[:, 0] / means_D2[:, 1]
