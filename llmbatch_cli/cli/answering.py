"""From rows to answers, as every command that runs rows does it."""

import contextlib
from collections.abc import AsyncGenerator, Callable

from llmbatch_cli.api import Rows
from llmbatch_cli.cli.reading import Reading, counting, refuse_bad_rows, spooled
from llmbatch_cli.cli.running import Showing, Writing, conduct
from llmbatch_cli.engine.run import Stop
from llmbatch_cli.errors import ExitStatus
from llmbatch_cli.events import Observer
from llmbatch_cli.types import Outcome

Ask = Callable[..., AsyncGenerator[Outcome, None]]
"""run_batch or run_race, with all arguments but the prompts, `stop` and `observe`."""


async def answer_rows(
    reading: Reading, ask: Ask, writing: Writing, showing: Showing, *, strict: bool
) -> ExitStatus:
    """Read, ask, write, and show how it goes."""
    async with contextlib.AsyncExitStack() as stack:
        if strict:
            reading = await stack.enter_async_context(spooled(reading))
            await refuse_bad_rows(reading)

        def begin(stop: Stop, observe: Observer) -> AsyncGenerator[Outcome, None]:
            stack.enter_context(counting(reading, observe))
            return ask(Rows(reading.rows(observe)), stop=stop, observe=observe)

        return await conduct(begin, writing, showing)
