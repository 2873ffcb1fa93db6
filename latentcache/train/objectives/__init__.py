"""What a model learns of a sample: velocities of noisy latents, or indices that are hidden."""
