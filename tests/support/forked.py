"""The program forked from a process that has its imports already: a start takes milliseconds.

Run as a script it is that process. It reads one JSON list of arguments a line from standard
input, forks, lets the child run the command line, and tells the child's number; once the child
has ended, its exit status, below 0 for a signal.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from support.program import environment


class Forks:
    """Starts the program again and again, one after the other."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def start(self, *arguments: str) -> int:
        """The number of the process that runs now."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(arguments).encode() + b"\n")
        return await self._told()

    async def ended(self) -> int:
        """Wait for its end; its exit status, or the signal's number below 0."""
        return await self._told()

    async def _told(self) -> int:
        assert self._process.stdout is not None
        return int(await self._process.stdout.readline())


@asynccontextmanager
async def forks(env: Mapping[str, str]) -> AsyncIterator[Forks]:
    """Run the process to fork from; standard error of all goes where ours does."""
    paths = {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, stdin=PIPE, stdout=PIPE, env=environment({**env, **paths})
    )
    try:
        yield Forks(process)
    finally:
        process.kill()
        await process.wait()


def serve() -> None:
    """Fork for every line of standard input."""
    import llmbatch_cli.cli.batch
    import llmbatch_cli.providers.openai.provider
    import llmbatch_cli.transport.llhttp_send  # noqa: F401 - what a run imports
    from llmbatch_cli.__main__ import main

    for line in sys.stdin:
        child = os.fork()
        if not child:
            _become(["llmbatch", *json.loads(line)])
            main()
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _become(argv: list[str]) -> None:
    sys.argv = argv
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)


if __name__ == "__main__":
    serve()
