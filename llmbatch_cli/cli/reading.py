"""Reading prompts for a command."""

from llmbatch_cli.rows.input.source import Inputs as Reading

__all__ = ["Reading"]
