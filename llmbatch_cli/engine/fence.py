"""A fence in front of the network, for a process whose right to send may end."""

from collections.abc import Callable

from llmbatch_cli.core.types import Call, Completion, Request
from llmbatch_cli.engine.calls import StreamCall
from llmbatch_cli.engine.waits import Postponed


class Fenced(Postponed):
    """This process may send nothing more: the row is dropped, and not failed, as another process
    has it now. Ends the run."""

    def __init__(self) -> None:
        super().__init__(ends=True)


def fenced(call: Call, before_send: Callable[[], None] | None) -> Call:
    """The innermost call, with this called directly before its request is sent."""
    if before_send is None:
        return call
    check = before_send

    async def checked(request: Request) -> Completion:
        check()
        return await call(request)

    return checked


def fenced_stream(stream: StreamCall, before_send: Callable[[], None] | None) -> StreamCall:
    """The same for a streamed one."""
    if before_send is None:
        return stream
    check = before_send

    async def checked(request: Request, on_text: Callable[[str], None]) -> Completion:
        check()
        return await stream(request, on_text)

    return checked
