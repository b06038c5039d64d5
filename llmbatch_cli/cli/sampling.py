"""Sampling options as parameters by OpenAI's names."""

from collections.abc import Mapping, Sequence

from llmbatch_cli.errors import UsageError
from llmbatch_cli.providers import json_or_text


def run_params(named: Mapping[str, object], others: Sequence[str]) -> dict[str, object]:
    """The options that were given, and `--param name=json` for any other, as yet unchecked."""
    params = dict(named)
    for pair in others:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--param {pair!r} is no NAME=JSON", hint="as in --param top_k=40")
        params[name] = json_or_text(value)
    return params
