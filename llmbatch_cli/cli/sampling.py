"""What the commands tell the API about the request: sampling parameters and the way to send it."""

import os
from collections.abc import Mapping, Sequence

from llmbatch_cli.errors import UsageError
from llmbatch_cli.providers import Access, json_or_text


def run_params(named: Mapping[str, object], others: Sequence[str] | None) -> dict[str, object]:
    """The options that were given, and `--param name=json` for any other, as yet unchecked."""
    params = dict(named)
    for pair in others or ():
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--param {pair!r} is no NAME=JSON", hint="as in --param top_k=40")
        params[name] = json_or_text(value)
    return params


def access_by(base_url: str | None, *, insecure: bool) -> Access:
    """Keys and addresses of the environment, with what the command line says otherwise."""
    return Access(base_url=base_url, insecure=insecure, environ=os.environ)
