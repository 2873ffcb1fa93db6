"""Train a small DiT from a store: ``python train_in_30_lines.py STORE [STEPS]``."""

import sys

import torch

from latentcache import LatentLoader
from latentcache.train import DiT, DiTConfig, draw_noise, draw_times, flow_loss


def main(store: str, num_steps: int = 100) -> list[float]:
    """Return the loss of every step; the checkpoint resumes model and loader."""
    loader = LatentLoader(store, columns=["latents"], global_batch_size=16, seed=0)
    batch = next(iter(loader))
    model = DiT(DiTConfig(channels=batch["latents"].shape[1], width=64, depth=2, num_heads=4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step, batch in enumerate(loader):
        latents, seeds = batch["latents"], batch["noise_seed"]
        times, noise = draw_times(seeds), draw_noise(seeds, latents.shape[1:])
        loss = flow_loss(model, latents, None, times=times, noise=noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step + 1 == num_steps:  # the loader is endless: you decide when to stop
            break
    torch.save({"model": model.state_dict(), "loader": batch.state}, "checkpoint.pt")
    return losses


if __name__ == "__main__":
    losses = main(sys.argv[1], *map(int, sys.argv[2:]))
    print(f"loss {losses[0]:.3f} -> {sum(losses[-10:]) / len(losses[-10:]):.3f}")
