"""Flow matching: the loss, the keyed draws, guidance and the way back to data."""

import pytest
import torch
from torch import Tensor

from latentcache.train import draw_noise, draw_times, flow_loss, sample_euler
from latentcache.train.conditioning import Conditioning, draw_drops
from latentcache.train.flow import shifted
from tests.train.conftest import tiny_dit

SEEDS = torch.arange(20_000) * 7919


def test_times_are_logit_normal() -> None:
    logits = torch.logit(draw_times(SEEDS).double())
    assert float(logits.mean()) == pytest.approx(0, abs=0.03)
    assert float(logits.std()) == pytest.approx(1, abs=0.03)


def test_draws_of_a_sample_do_not_depend_on_its_batch() -> None:
    for draw in (draw_times, lambda seeds: draw_noise(seeds, (3, 4))):
        torch.testing.assert_close(draw(SEEDS[5:9]), draw(SEEDS[:100])[5:9])
    assert torch.equal(draw_drops(SEEDS[5:9], 0.5), draw_drops(SEEDS, 0.5)[5:9])


def test_times_noise_and_drops_are_independent() -> None:
    times, noise = draw_times(SEEDS), draw_noise(SEEDS, (1,))[:, 0]
    drops = draw_drops(SEEDS, 0.1).float()
    assert float(drops.mean()) == pytest.approx(0.1, abs=0.01)
    assert torch.corrcoef(torch.stack([times, noise, drops])).triu(1).abs().max() < 0.03


def test_shift_moves_times_towards_noise_and_keeps_the_ends() -> None:
    times = torch.tensor([0.0, 0.5, 1.0])
    torch.testing.assert_close(shifted(times, 3.0), torch.tensor([0.0, 0.75, 1.0]))
    assert torch.equal(shifted(times, 1.0), times)


def test_loss_is_the_error_of_the_velocity_of_each_sample() -> None:
    data, noise, times = torch.randn(3, 2, 4, 4), torch.randn(3, 2, 4, 4), torch.rand(3)

    def model(noisy: Tensor, at: Tensor, condition: None) -> Tensor:
        t = at.view(-1, 1, 1, 1)
        torch.testing.assert_close(noisy, (1 - t) * data + t * noise)
        return noise - data + torch.tensor([0.0, 1.0, 2.0]).view(-1, 1, 1, 1)

    loss = flow_loss(model, data, None, times=times, noise=noise)
    torch.testing.assert_close(loss, torch.tensor([0.0, 1.0, 4.0]))


def test_euler_follows_straight_lines_exactly() -> None:
    data, noise = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for num_steps, shift in ((1, 1.0), (7, 3.0)):
        found = sample_euler(lambda *_: noise - data, noise, num_steps=num_steps, shift=shift)
        torch.testing.assert_close(found, data)


def test_guidance_of_one_is_the_condition_alone_and_more_goes_beyond_it() -> None:
    def model(latents: Tensor, at: Tensor, told: Tensor) -> Tensor:
        return told.float().view(-1, 1).expand_as(latents)

    told, nothing, noise = torch.tensor([1, 2]), torch.tensor([5, 5]), torch.zeros(2, 3)
    alone = sample_euler(model, noise, told, no_condition=nothing)
    torch.testing.assert_close(alone, sample_euler(model, noise, told))
    torch.testing.assert_close(alone[:, 0], torch.tensor([-1.0, -2.0]))
    guided = sample_euler(model, noise, told, guidance=2.0, no_condition=nothing)
    torch.testing.assert_close(guided[:, 0], -(5 + 2 * (told.float() - 5)))


def test_guidance_of_one_equals_the_condition_for_a_model_too() -> None:
    model = tiny_dit().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    noise, told = torch.randn(2, 4, 4, 4), torch.tensor([0, 3])
    close = sample_euler(model, noise, told, guidance=1.0 + 1e-7, no_condition=told + 1)
    alone = sample_euler(model, noise, told)
    torch.testing.assert_close(close, alone, rtol=1e-3, atol=1e-3)


def test_a_tiny_model_learns_a_few_samples() -> None:
    torch.manual_seed(0)
    data, told = torch.randn(4, 4, 2, 2), torch.arange(4)
    model = tiny_dit(width=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, fused=True)
    losses = []
    for step in range(100):
        seeds = torch.arange(16) + 1000 * step
        times, noise = draw_times(seeds), draw_noise(seeds, (4, 2, 2))
        loss = flow_loss(model, data.repeat(4, 1, 1, 1), told.repeat(4), times=times, noise=noise)
        optimizer.zero_grad()
        torch.autograd.backward(loss.mean())
        optimizer.step()
        losses.append(float(loss.detach().mean()))
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    found = sample_euler(model.eval(), draw_noise(torch.arange(4), (4, 2, 2)), told)
    assert torch.cdist(found.flatten(1), data.flatten(1)).argmin(dim=1).tolist() == [0, 1, 2, 3]


def test_text_is_dropped_by_its_mask_and_zero_rows_are_padding() -> None:
    reader = Conditioning(column="text", num_classes=None, text_dim=3)
    text = torch.randn(2, 4, 3)
    text[0, 2:] = 0
    told = reader.read({"text": text}, torch.device("cpu"))
    assert isinstance(told, tuple)
    assert told[1].tolist() == [[True, True, False, False], [True] * 4]
    dropped = reader.drop(told, torch.tensor([False, True]))
    assert isinstance(dropped, tuple)
    assert dropped[1].tolist() == [[True, True, False, False], [False] * 4]
    without = reader.without(told)
    assert isinstance(without, tuple)
    assert not without[1].any()
