"""Text towers of transformers: what is declared of them, their files, their tokens, themselves."""
