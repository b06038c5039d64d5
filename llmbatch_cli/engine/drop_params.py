"""Leaving out the parameters that a provider's API does not support (--drop-params)."""

from collections.abc import Callable
from dataclasses import replace

from llmbatch_cli.core.errors import UnsupportedParameter
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.types import Request, WireRequest

Build = Callable[[Request], WireRequest]


def dropping(build: Build, observe: Observer, reported: set[str]) -> Build:
    """`build` without the parameters that it does not support; each is reported once.

    `reported` holds what was reported; all that share it do not repeat each other.
    """

    def built(request: Request) -> WireRequest:
        try:
            return build(request)
        except UnsupportedParameter as error:
            name = error.parameter
            if name not in request.params:
                raise
            if error.message not in reported:
                reported.add(error.message)
                observe(Notice(f"{error.message}: dropped"))
            left = {key: value for key, value in request.params.items() if key != name}
            return built(replace(request, params=left))

    return built
