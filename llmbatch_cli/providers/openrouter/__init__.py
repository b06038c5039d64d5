"""OpenRouter, where it has more than chat completions."""
