"""What the commands tell the API about the request: sampling parameters and the way to send it."""

import os
from collections.abc import Mapping, Sequence

from llmbatch_cli.core.errors import UsageError
from llmbatch_cli.engine.failure_limit import FailureLimit
from llmbatch_cli.providers.registry import Access, json_or_text


def run_params(named: Mapping[str, object], others: Sequence[str] | None) -> dict[str, object]:
    """The options that were given, and `--param name=json` for any other, as yet unchecked."""
    params = dict(named)
    for pair in others or ():
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise UsageError(f"--param {pair!r} is no NAME=JSON", hint="as in --param top_k=40")
        params[name] = json_or_text(value)
        if params[name] == value and value[:1] in ("{", "["):
            raise UsageError(f"--param {name}: {value!r} is no whole JSON")
    return params


def access_by(base_urls: Sequence[str] | None, *, api: str | None, insecure: bool) -> Access:
    """Keys and addresses of the environment, with what the command line says otherwise."""
    first, others = (base_urls[0], base_urls[1:]) if base_urls else (None, ())
    return Access(
        base_url=first,
        more_base_urls=others,
        api=api,
        insecure=insecure,
        environ=os.environ,
    )


def parse_failure_limit(max_errors: str | None) -> FailureLimit:
    """`20` or `5%` as a FailureLimit. Raises UsageError."""
    if max_errors is None:
        return FailureLimit()
    try:
        if max_errors.endswith("%"):
            share = float(max_errors[:-1]) / 100
            if not 0 <= share < 1:
                raise ValueError
            return FailureLimit(share=share)
        rows = int(max_errors)
        if rows < 1:
            raise ValueError
        return FailureLimit(rows=rows)
    except ValueError as error:
        raise UsageError(
            f"--max-errors {max_errors!r} is no number of rows and no share",
            hint="as in --max-errors 100 or --max-errors 5%",
        ) from error
