"""Vision features of transformers' models: what is declared of them, and the models themselves."""
