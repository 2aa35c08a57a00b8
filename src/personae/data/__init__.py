"""What is trained on: examples, and their latents made once."""
