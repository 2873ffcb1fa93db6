import numpy as np
import pytest
import torch

from latentcache.loader.transform.noise import keyed_normal, noise_seeds, sample_posterior

PINNED = [0.011129, 0.228696, -0.543038, -0.713919, -0.604814, 0.191494]
PINNED_SEED = 9172139523258636983
KEYS = [f"{number:020x}" for number in range(64)]


def seeds_of(keys: list[str], draw: int = 0) -> torch.Tensor:
    return noise_seeds(keys, np.full(len(keys), draw), seed=3)


def test_a_sample_has_its_noise_whatever_batch_it_is_in() -> None:
    whole = keyed_normal(seeds_of(KEYS), (4, 5, 3))
    for keys in (KEYS[7:9], KEYS[40:39:-1]):
        places = [KEYS.index(key) for key in keys]
        assert torch.equal(keyed_normal(seeds_of(keys), (4, 5, 3)), whole[places])


def test_another_draw_or_stream_has_other_noise() -> None:
    first = keyed_normal(seeds_of(KEYS), (64,))
    for other in (
        keyed_normal(seeds_of(KEYS, draw=1), (64,)),
        keyed_normal(seeds_of(KEYS), (64,), stream=1),
    ):
        assert abs(torch.corrcoef(torch.stack([first.flatten(), other.flatten()]))[0, 1]) < 0.05


def test_noise_is_standard_normal() -> None:
    noise = keyed_normal(seeds_of(KEYS), (4, 32, 33)).double()
    count = noise.numel()
    assert abs(noise.mean()) < 5 / count**0.5
    assert abs(noise.var() - 1) < 5 * (2 / count) ** 0.5
    assert abs((noise**3).mean()) < 5 * (15 / count) ** 0.5
    assert abs((noise**4).mean() - 3) < 5 * (96 / count) ** 0.5
    assert torch.isfinite(noise).all()
    rows = noise.flatten(1)
    assert torch.corrcoef(rows).fill_diagonal_(0).abs().max() < 0.1
    shifted = torch.stack([rows[:, :-1].flatten(), rows[:, 1:].flatten()])
    assert abs(torch.corrcoef(shifted)[0, 1]) < 0.02


def test_the_noise_is_pinned_for_ever() -> None:
    """Runs resume by it."""
    noise = keyed_normal(torch.tensor([1, -5]), (3,))
    assert noise.flatten().tolist() == pytest.approx(PINNED, abs=1e-6)


def test_a_draw_has_the_posterior_s_mean_and_spread() -> None:
    mean = torch.full((64, 4, 16, 16), 2.0, dtype=torch.bfloat16)
    logvar = torch.full((64, 1, 16, 16), -2.0, dtype=torch.bfloat16)
    drawn = sample_posterior(mean, logvar, seeds_of(KEYS))
    assert drawn.dtype == torch.float32
    assert abs(drawn.mean() - 2) < 0.01
    assert abs(drawn.std() - np.exp(-1)) < 0.01


def test_every_key_and_draw_has_a_seed_of_its_own() -> None:
    seeds = [seeds_of(KEYS, draw) for draw in range(50)]
    found = torch.cat(seeds)
    assert len(set(found.tolist())) == len(found)
    ones = (found[:, None] >> torch.arange(64)) & 1
    assert (ones.double().mean(0) - 0.5).abs().max() < 0.05
    assert noise_seeds(["0123456789abcdef0123"], np.array([2]), seed=7).tolist() == [PINNED_SEED]
