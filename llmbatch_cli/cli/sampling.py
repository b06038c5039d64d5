"""Sampling options as parameters by OpenAI's names."""

from collections.abc import Mapping, Sequence
from typing import Any

from llmbatch_cli.errors import InputError, UsageError
from llmbatch_cli.params import check, json_or_text


def run_params(named: Mapping[str, Any], others: Sequence[str]) -> dict[str, Any]:
    """The options that were given, and `--param name=json` for any other.

    A name that is no known parameter goes to the wire as it is, in `extra_body`.
    Raises UsageError for a value of the wrong type.
    """
    params = {name: value for name, value in named.items() if value is not None}
    for pair in others:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--param {pair}: no NAME=JSON", hint="as in --param top_k=40")
        params[name] = json_or_text(value)
    try:
        return check(params)
    except InputError as error:
        raise UsageError(error.message, hint=error.hint) from error
