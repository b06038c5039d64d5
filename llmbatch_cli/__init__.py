"""Bulk prompting for language models: many prompts, one model; or one prompt, several models."""

__version__ = "0.1.0"
