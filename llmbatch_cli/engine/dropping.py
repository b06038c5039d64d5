"""Doing without the parameters that a wire has no words for (--drop-params)."""

from collections.abc import Callable
from dataclasses import replace

from llmbatch_cli.core.errors import UnsupportedParameter
from llmbatch_cli.core.events import Notice, Observer
from llmbatch_cli.core.types import Request, WireRequest

Build = Callable[[Request], WireRequest]


def dropping(build: Build, observe: Observer, told: set[str]) -> Build:
    """`build`, which leaves out what its wire cannot say, and tells each parameter once.

    `told` holds what was said, and is shared by all who must not say it again.
    """

    def built(request: Request) -> WireRequest:
        try:
            return build(request)
        except UnsupportedParameter as error:
            name = error.parameter
            if name not in request.params:
                raise
            if error.message not in told:
                told.add(error.message)
                observe(Notice(f"{error.message}: left out"))
            left = {key: value for key, value in request.params.items() if key != name}
            return built(replace(request, params=left))

    return built
