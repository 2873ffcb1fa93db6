"""What is declared of the autoencoders of diffusers, a row each."""
