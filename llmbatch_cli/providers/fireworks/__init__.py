"""Fireworks, where it has more than chat completions."""
