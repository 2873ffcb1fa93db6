"""One file per family of diffusers autoencoders."""
